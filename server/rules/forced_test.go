package rules

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestOnlyForcedRulesOverrideFiles(t *testing.T) {
	rules, err := Parse(nil, []byte(`
/moved        /new       301!
/kept         /new       301
/app/*        /app.html  200!
/u/:name/post /posts     302!
/caf%C3%A9/   /cafe      301!
/gone.html    /410.html  410!
`))
	require.NoError(t, err)
	for path, want := range map[string]bool{
		"/moved": true, "/moved/": true, "/moved.html": false, "/moved/on": false,
		"/kept": false, "/app/x/y.js": true, "/app": false, "/apple": false,
		"/u/ada/post": true, "/u/ada/posts": false, "/u/a/b/post": false,
		"/café/": true, "/cafe/": false, "/gone.html": true, "/": false,
	} {
		require.Equal(t, want, rules.Forced(path), path)
	}
	require.False(t, Rules{}.Forced("/"))
}

func TestARuleForTheWholeSiteIsForcedEverywhere(t *testing.T) {
	rules, err := Parse(nil, []byte("/* https://example.com/:splat 301!\n"))
	require.NoError(t, err)
	require.True(t, rules.Forced("/"))
	require.True(t, rules.Forced("/a/b.png"))
}
