<?php

/*
 * A request to an API, with the token on standard input. The arguments are a JSON object:
 *
 *   key        a public key file: league's validator alone judges
 *   validator  the file of docs/php.md's validator, with keys, issuer, clients, userinfo
 *   now        what time it is, in seconds since 1970; else as it is
 *
 * Prints {"attributes":{…}}, or {"status":401,"hint":"…"}.
 */

declare(strict_types=1);

use League\OAuth2\Server\AuthorizationValidators\BearerTokenValidator;
use League\OAuth2\Server\CryptKey;
use League\OAuth2\Server\Exception\OAuthServerException;
use Psr\Http\Message\ServerRequestInterface;

set_error_handler(static fn (int $level, string $message) => error_reporting() & $level ? throw new ErrorException($message) : false);
require __DIR__.'/league.php';

final class Request implements ServerRequestInterface
{
    public function __construct(private string $authorization, public array $attributes = [])
    {
    }

    public function getHeaderLine(string $name): string
    {
        return 'authorization' === strtolower($name) ? $this->authorization : '';
    }

    public function withAttribute(string $name, $value): Request
    {
        return new self($this->authorization, [$name => $value] + $this->attributes);
    }
}

$given = json_decode($argv[1], true, 512, JSON_THROW_ON_ERROR);
$validator = new BearerTokenValidator(isset($given['now']) ? new DateTimeImmutable('@'.$given['now']) : new DateTimeImmutable());
if (isset($given['validator'])) {
    require $given['validator'];
    $validator = new App\Security\CounterfoilTokenValidator($validator, $given['keys'], $given['issuer'], $given['clients'], $given['userinfo'] ?? null);
} else {
    $validator->setPublicKey(new CryptKey($given['key']));
}
try {
    $request = $validator->validateAuthorization(new Request('Bearer '.trim(stream_get_contents(STDIN))));
    echo json_encode(['attributes' => $request->attributes]);
} catch (OAuthServerException $refusal) {
    echo json_encode(['status' => $refusal->status, 'hint' => $refusal->hint]);
}
