package main

// pageSettings say whether there is a live page, and which token it needs.
type pageSettings struct {
	On        string `name:"page" var:"CONSUMER_PAGE" default:"true" placeholder:"BOOL" help:"Show the live page of jobs at / of the HTTP address; default ${default}."`
	Token     string `name:"page-token" var:"CONSUMER_PAGE_TOKEN" secret:"" hidden:"" placeholder:"TEXT" help:"Token that the live page is shown with."`
	TokenFile string `name:"page-token-file" var:"CONSUMER_PAGE_TOKEN_FILE" value:"CONSUMER_PAGE_TOKEN" placeholder:"FILE" help:"File with the token that the live page is shown with; without one it is shown to every client."`
}

type pageConfig struct {
	On    bool
	Token Secret // unset: the page is shown to every client
}

// minTokenLength is how many characters a token must have, so that it cannot be guessed.
const minTokenLength = 16

func (s pageSettings) config(p *problems) pageConfig {
	c := pageConfig{On: p.boolean("CONSUMER_PAGE", s.On), Token: p.secret("CONSUMER_PAGE_TOKEN", s.Token, s.TokenFile)}
	if token, err := c.Token.Reveal(); c.Token.IsSet() && err == nil && len(token) < minTokenLength {
		p.add("CONSUMER_PAGE_TOKEN", "has %d characters and needs %d, so that it cannot be guessed: openssl rand -hex 16 makes one", len(token), minTokenLength)
	}
	return c
}
