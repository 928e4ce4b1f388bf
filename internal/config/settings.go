package config

import "strings"

// setting is one line of the list.
type setting struct {
	name     string // in the file; flags and environment derive from it
	standard string // the default as text, unless it is computed
	computed string // the default in words, where it depends on the machine or on other settings
	help     string
	secret   bool // never shown; also as name_file
	onFlag   bool // a secret that the flag takes as well: it need not hold one
	value    func(*Config) value
}

// settings is the one list of what can be set. `config` itself, which names the
// file, is not in it.
var settings = []setting{
	{
		name: "data", computed: "`/var/lib/counterfoil` if writable, else `$XDG_STATE_HOME/counterfoil`", help: "directory of the embedded database and the master key, made with mode 0700",
		value: func(c *Config) value { return &text{&c.Data} },
	},
	{
		name: "database", standard: "sqlite", secret: true, onFlag: true,
		help:  "where everything is stored: `sqlite` is a file in `data`; `postgres://…` is a PostgreSQL database, several hosts allowed",
		value: func(c *Config) value { return &database{secret{&c.Database, &c.DatabaseFile, CheckDatabase}} },
	},
	{
		name: "database_connections", standard: "16", help: "most connections to PostgreSQL at once; has no effect on `sqlite`",
		value: func(c *Config) value { return &number{&c.DatabaseConnections} },
	},
	{
		name: "listen", standard: "127.0.0.1:8080", help: "address of the public endpoints, host:port; port 0 takes a free one",
		value: func(c *Config) value { return &text{&c.Listen} },
	},
	{
		name: "admin_listen", standard: "127.0.0.1:8081", help: "address of metrics and health for operators; empty turns it off",
		value: func(c *Config) value { return &text{&c.AdminListen} },
	},
	{
		name: "issuer", computed: "`http://` (`https://` with `tls_cert`) and `listen`; `localhost` for a wildcard address", help: "issuer identifier (RFC 8414): every absolute URL begins with it; https, except on loopback or with `insecure_http`",
		value: func(c *Config) value { return &text{&c.Issuer} },
	},
	{
		name: "access_token_lifetime", standard: "1h", help: "lifetime of access tokens (`expires_in`)",
		value: func(c *Config) value { return &duration{&c.AccessTokenLifetime} },
	},
	{
		name: "refresh_token_lifetime", standard: "720h", help: "how long a grant may stay idle before its refresh token expires",
		value: func(c *Config) value { return &duration{&c.RefreshTokenLifetime} },
	},
	{
		name: "refresh_token_absolute_lifetime", standard: "8760h", help: "when a grant ends whatever is refreshed; 0: never, as in OroCommerce",
		value: func(c *Config) value { return &duration{&c.RefreshTokenAbsoluteLifetime} },
	},
	{
		name: "retry_window", computed: "60s for public clients, 300s for confidential ones", help: "how long after a refresh the previous refresh token still gets the same successor; set, it holds for both kinds of clients; 0: strict one-time use",
		value: func(c *Config) value { return &optionalDuration{&c.RetryWindow} },
	},
	{
		name: "late_window", standard: "10s", help: "how long after a refresh the refresh token before the previous one is a straggler rather than a replay",
		value: func(c *Config) value { return &duration{&c.LateWindow} },
	},
	{
		name: "retry_budget", standard: "100", help: "how often one successor is handed out again",
		value: func(c *Config) value { return &number{&c.RetryBudget} },
	},
	{
		name: "password_change", standard: Revoke, help: "what a changed password does to the user's grants: `revoke`, or `keep` as in OroCommerce",
		value: func(c *Config) value { return &choice{&c.PasswordChange, []string{Revoke, Keep}} },
	},
	{
		name: "previous_access_token", standard: Revoke, help: "what a refresh does to the access token before it: `revoke`, `keep`, or a duration that it lives on",
		value: func(c *Config) value { return &previousAccessToken{&c.PreviousAccessToken} },
	},
	{
		name: "signing_alg", standard: "RS256", help: "algorithm of access tokens: `RS256`, `PS256`, `ES256` or `EdDSA`",
		value: func(c *Config) value { return &choice{&c.SigningAlg, []string{"RS256", "PS256", "ES256", "EdDSA"}} },
	},
	{
		name: "private_key", computed: "made at first start", secret: true, help: "signing key to import at first start, in PEM format",
		value: func(c *Config) value { return &secret{&c.PrivateKey, &c.PrivateKeyFile, isPEM} },
	},
	{
		name: "master_key", computed: "file `master.key` in `data`, made at first start", secret: true, help: "master keys that protect tokens and signing keys: lines `key_id base64url`, the first one active",
		value: func(c *Config) value { return &secret{&c.MasterKey, &c.MasterKeyFile, isMasterKey} },
	},
	{
		name: "authorization_code_lifetime", computed: "60s; 600s for codes made at OroCommerce's endpoint", help: "lifetime of authorization codes",
		value: func(c *Config) value { return &optionalDuration{&c.AuthorizationCodeLifetime} },
	},
	{
		name: "password_hash", standard: "argon2id,m=19456,t=2,p=1", help: "how new passwords are hashed: memory in KiB, passes, threads",
		value: func(c *Config) value { return &passwordHash{&c.PasswordHash} },
	},
	{
		name: "max_grants", standard: "1000", help: "grants per user and client, beyond which the longest idle one ends; 0: no limit",
		value: func(c *Config) value { return &number{&c.MaxGrants} },
	},
	{
		name: "event_retention", standard: "720h", help: "how long events are kept; 0: for ever",
		value: func(c *Config) value { return &duration{&c.EventRetention} },
	},
	{
		name: "lockout", standard: "0", help: "wrong passwords after which an account is locked; 0: never (throttling always applies)",
		value: func(c *Config) value { return &number{&c.Lockout} },
	},
	{
		name: "session_lifetime", standard: "12h", help: "how long somebody stays signed in in a browser",
		value: func(c *Config) value { return &duration{&c.SessionLifetime} },
	},
	{
		name: "case_insensitive_email", standard: "false", help: "users may log in with their e-mail address in any case",
		value: func(c *Config) value { return &boolean{&c.CaseInsensitiveEmail} },
	},
	{
		name: "visitors", standard: "false", help: "storefront clients may get tokens for visitors without an account, as in OroCommerce: `guest` with the password `guest`, and `/oauth2-token/authorize-visitor`",
		value: func(c *Config) value { return &boolean{&c.Visitors} },
	},
	{
		name: "brand_name", standard: "Counterfoil", help: "name on the pages that users see",
		value: func(c *Config) value { return &text{&c.BrandName} },
	},
	{
		name: "brand_logo", help: "PNG, JPEG, WebP or SVG file that is shown instead of the name",
		value: func(c *Config) value { return &text{&c.BrandLogo} },
	},
	{
		name: "brand_color", help: "color of buttons and links, `#rrggbb`, in quotes in the file; made darker or lighter where it could not be read; empty: ours",
		value: func(c *Config) value { return &text{&c.BrandColor} },
	},
	{
		name: "tls_cert", help: "PEM file of the certificate chain of the public listener",
		value: func(c *Config) value { return &text{&c.TLSCert} },
	},
	{
		name: "tls_key", help: "PEM file of the certificate's private key",
		value: func(c *Config) value { return &text{&c.TLSKey} },
	},
	{
		name: "insecure_http", standard: "false", help: "allow an http issuer off loopback",
		value: func(c *Config) value { return &boolean{&c.InsecureHTTP} },
	},
	{
		name: "cors_allow_origins", help: "origins whose scripts may call the token endpoints; `*`: all",
		value: func(c *Config) value { return &list{&c.CORSAllowOrigins} },
	},
	{
		name: "cors_allow_headers", help: "request headers such scripts may send besides Authorization and Content-Type",
		value: func(c *Config) value { return &list{&c.CORSAllowHeaders} },
	},
	{
		name: "cors_preflight_max_age", standard: "600", help: "how long browsers may cache a preflight answer; 0: not at all",
		value: func(c *Config) value { return &duration{&c.CORSPreflightMaxAge} },
	},
	{
		name: "password_concurrency", computed: "the number of cores", help: "passwords that are hashed at the same time",
		value: func(c *Config) value { return &number{&c.PasswordConcurrency} },
	},
	{
		name: "password_queue", computed: "2 x `password_concurrency`", help: "passwords that may wait to be hashed; beyond it the answer is 503",
		value: func(c *Config) value { return &number{&c.PasswordQueue} },
	},
	{
		name: "trusted_proxies", help: "addresses or networks of proxies whose X-Forwarded-For counts",
		value: func(c *Config) value { return &prefixes{&c.TrustedProxies} },
	},
	{
		name: "log_level", standard: "info", help: "`debug`, `info`, `warn` or `error`",
		value: func(c *Config) value { return &choice{&c.LogLevel, []string{"debug", "info", "warn", "error"}} },
	},
	{
		name: "log_format", computed: "`json`; `text` on a terminal", help: "`json` or `text`",
		value: func(c *Config) value { return &choice{&c.LogFormat, []string{"json", "text"}} },
	},
}

const (
	environmentPrefix = "COUNTERFOIL_"
	fileSuffix        = "_file"
	configName        = "config"
	configHelp        = "configuration file, in YAML; only as flag and environment variable"
	// DefaultFile is the configuration file that is read where none is named, if it exists.
	DefaultFile = "/etc/counterfoil/counterfoil.yaml"
)

// FlagName is a setting's name as a flag.
func FlagName(name string) string { return strings.ReplaceAll(name, "_", "-") }

// EnvironmentName is a setting's name as an environment variable.
func EnvironmentName(name string) string { return environmentPrefix + strings.ToUpper(name) }

// Setting describes a setting for whoever makes flags of them.
type Setting struct {
	Name    string // as in the file
	Help    string
	Kind    string // what the value is, in a word
	Default string // in words or as a value; empty: none
	Boolean bool   // a flag may stand alone
}

// Settings describes all settings in their order, `config` first.
func Settings() []Setting {
	all := []Setting{{Name: configName, Help: configHelp, Kind: "file", Default: "`" + DefaultFile + "` if it exists"}}
	var c Config
	for _, s := range settings {
		v := s.value(&c)
		_, isBoolean := v.(*boolean)
		all = append(all, Setting{Name: s.name, Help: s.help, Kind: v.kind(), Default: s.defaultWords(), Boolean: isBoolean})
	}
	return all
}

// defaultWords says what the default is.
func (s *setting) defaultWords() string {
	if s.computed != "" {
		return s.computed
	}
	if s.standard == "" {
		return ""
	}
	return "`" + s.standard + "`"
}
