package clients_test

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"sync"
	"time"

	"golang.org/x/oauth2"
)

// again sends the same request until there is a whole answer, for at most 50 seconds.
func again(request func() (*oauth2.Token, error)) (*oauth2.Token, error) {
	end := time.Now().Add(50 * time.Second)
	for wait := 100 * time.Millisecond; ; wait = min(2*wait, 2*time.Second) {
		token, err := request()
		if err == nil {
			return token, nil
		}
		var refused *oauth2.RetrieveError
		if errors.As(err, &refused) { // there is an answer
			if code := refused.Response.StatusCode; code != 429 && code < 500 {
				return nil, err
			}
			seconds, _ := strconv.Atoi(refused.Response.Header.Get("Retry-After"))
			wait = max(wait, time.Duration(seconds)*time.Second)
		}
		if time.Now().Add(wait).After(end) {
			return nil, err
		}
		time.Sleep(wait)
	}
}

// session is a TokenSource that saves new tokens before anybody uses them.
type session struct {
	oauth2.TokenSource
	save  func(*oauth2.Token) error
	mu    sync.Mutex
	saved *oauth2.Token
}

func (s *session) Token() (*oauth2.Token, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	token, err := again(s.TokenSource.Token)
	if err == nil && token != s.saved {
		err = s.save(token)
	}
	if err != nil {
		return nil, err
	}
	s.saved = token
	return token, nil
}

// live logs in, and is a program that is started again whenever its access token has
// expired. It uses each access token twice.
func (c *golangClient) live(ctx context.Context) error {
	save, issuer, clientID, clientSecret, username, password := c.save, c.Issuer, c.ClientID, c.ClientSecret, c.Username, c.Password
	config := oauth2.Config{
		ClientID: clientID, ClientSecret: clientSecret,
		Endpoint: oauth2.Endpoint{TokenURL: issuer + "/oauth2-token", AuthStyle: oauth2.AuthStyleInParams},
	}
	// Each token request has 10 seconds; what waits for a token has longer.
	short := context.WithValue(ctx, oauth2.HTTPClient, &http.Client{Timeout: 10 * time.Second})
	token, err := again(func() (*oauth2.Token, error) { return config.PasswordCredentialsToken(short, username, password) })
	if err != nil {
		return err
	}
	client := oauth2.NewClient(ctx, &session{TokenSource: config.TokenSource(short, token), save: save})
	for range refreshes {
		if err := c.use(client); err != nil {
			return err
		}
		saved := c.saved[len(c.saved)-1].RefreshToken
		client = oauth2.NewClient(ctx, &session{TokenSource: config.TokenSource(short, &oauth2.Token{RefreshToken: saved}), save: save})
	}
	return c.use(client)
}

// golangClient is a program that keeps its session with golang.org/x/oauth2.
type golangClient struct {
	settings
	saved []tokens
}

func (c *golangClient) save(token *oauth2.Token) error {
	c.saved = append(c.saved, taken(token))
	return nil
}

// use asks a protected resource twice, and wants the token saved by then.
func (c *golangClient) use(client *http.Client) error {
	for range 2 {
		response, err := client.Get(c.Userinfo)
		if err != nil {
			return err
		}
		_ = response.Body.Close()
		if response.StatusCode != http.StatusOK {
			return errors.New("the resource answers " + response.Status)
		}
	}
	if len(c.saved) == 0 {
		return errors.New("a token was used that is not saved")
	}
	return nil
}
