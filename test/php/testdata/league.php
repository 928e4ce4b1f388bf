<?php

/*
 * Stand-ins for those parts of league/oauth2-server and PSR-7 that docs/php.md uses, and
 * the rules by which league's BearerTokenValidator and lcobucci/jwt judge a token: the
 * algorithm is RS256, the signature is over the first two parts as they were sent, times
 * are numbers with or without a fraction, and `aud` is a string or a list.
 */

declare(strict_types=1);

namespace Psr\Http\Message {
    interface ServerRequestInterface
    {
        public function getHeaderLine(string $name): string;

        public function withAttribute(string $name, $value): ServerRequestInterface;
    }
}

namespace League\OAuth2\Server\Exception {
    class OAuthServerException extends \Exception
    {
        public function __construct(string $message, int $code, public string $errorType, public int $status = 400, public ?string $hint = null)
        {
            parent::__construct($message, $code);
        }

        public static function accessDenied(?string $hint = null): static
        {
            return new static('The resource owner or authorization server denied the request.', 9, 'access_denied', 401, $hint);
        }
    }
}

namespace League\OAuth2\Server {
    final class CryptKey
    {
        public readonly \OpenSSLAsymmetricKey $key;

        public function __construct(string $file)
        {
            $mode = decoct(fileperms($file) & 0777);
            if (!in_array($mode, ['400', '440', '600', '640', '660'], true)) {
                throw new \ErrorException("the mode of the key file is $mode");
            }
            $key = openssl_pkey_get_public(file_get_contents($file));
            if (false === $key || OPENSSL_KEYTYPE_RSA !== openssl_pkey_get_details($key)['type']) {
                throw new \LogicException('no public RSA key in PEM');
            }
            $this->key = $key;
        }
    }
}

namespace League\OAuth2\Server\AuthorizationValidators {
    use League\OAuth2\Server\CryptKey;
    use League\OAuth2\Server\Exception\OAuthServerException;
    use Psr\Http\Message\ServerRequestInterface;

    interface AuthorizationValidatorInterface
    {
        public function validateAuthorization(ServerRequestInterface $request): ServerRequestInterface;
    }

    class BearerTokenValidator implements AuthorizationValidatorInterface
    {
        private CryptKey $publicKey;

        public function __construct(private \DateTimeImmutable $now)
        {
        }

        public function setPublicKey(CryptKey $key): void
        {
            $this->publicKey = $key;
        }

        public function validateAuthorization(ServerRequestInterface $request): ServerRequestInterface
        {
            $parts = explode('.', substr($request->getHeaderLine('Authorization'), strlen('Bearer ')));
            if (3 !== count($parts)) {
                throw OAuthServerException::accessDenied('three parts are needed');
            }
            if ('RS256' !== (self::json($parts[0])['alg'] ?? null)) {
                throw OAuthServerException::accessDenied('another algorithm');
            }
            if (1 !== openssl_verify("$parts[0].$parts[1]", self::bytes($parts[2]), $this->publicKey->key, OPENSSL_ALGO_SHA256)) {
                throw OAuthServerException::accessDenied('the signature is wrong');
            }
            $claims = self::json($parts[1]);
            $this->checkTimes($claims);

            return $request
                ->withAttribute('oauth_access_token_id', $claims['jti'])
                ->withAttribute('oauth_client_id', ((array) $claims['aud'])[0])
                ->withAttribute('oauth_user_id', $claims['sub'])
                ->withAttribute('oauth_scopes', $claims['scopes'] ?? null);
        }

        private function checkTimes(array $claims): void
        {
            foreach (['iat', 'nbf'] as $name) {
                if (isset($claims[$name]) && $this->now < self::time($claims[$name])) {
                    throw OAuthServerException::accessDenied("$name is in the future");
                }
            }
            if (isset($claims['exp']) && $this->now >= self::time($claims['exp'])) {
                throw OAuthServerException::accessDenied('it has expired');
            }
        }

        private static function time(int|float|string $seconds): \DateTimeImmutable
        {
            $time = is_numeric($seconds) ? \DateTimeImmutable::createFromFormat('U.u', sprintf('%.6F', $seconds)) : false;

            return $time ?: throw OAuthServerException::accessDenied('a time is no number');
        }

        private static function bytes(string $part): string
        {
            $bytes = base64_decode(strtr($part, '-_', '+/'), true);

            return false !== $bytes ? $bytes : throw OAuthServerException::accessDenied('a part is not base64url');
        }

        private static function json(string $part): array
        {
            $value = json_decode(self::bytes($part), true);

            return is_array($value) ? $value : throw OAuthServerException::accessDenied('a part is no JSON object');
        }
    }
}
