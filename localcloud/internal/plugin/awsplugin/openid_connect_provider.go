package awsplugin

import (
	"context"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"github.com/pulumi/pulumi/sdk/v3/go/property"

	"immutable-infra/localcloud/internal/plugin/awsplugin/schema"
	"immutable-infra/localcloud/internal/plugin/awsplugin/store"
)

// Limits of IAM.
const (
	maxThumbprints = 5
	maxClientIDs   = 100
)

// openIDConnectProvider keeps OIDC providers, which roles trust. Nobody comes by
// one here: `localcloud env -role` gives out the credentials of roles.
type openIDConnectProvider struct{}

func (openIDConnectProvider) create(_ context.Context, op *operation, inputs property.Map) (string, error) {
	var provider store.OpenIDConnectProvider
	if err := schema.Decode(inputs, &provider); err != nil {
		return "", err
	}
	issuer, err := issuerOf(provider.URL)
	if err != nil {
		return "", err
	}
	if err := checkClientIDs(provider.ClientIDLists); err != nil {
		return "", err
	}
	if err := checkThumbprints(provider.ThumbprintLists); err != nil {
		return "", err
	}
	provider.URL = issuer
	provider.Arn = providerARN(issuer)
	provider.ID = provider.Arn
	if _, exists := op.OpenIDConnectProviders[provider.ID]; exists {
		return "", apiError("EntityAlreadyExists", "Provider with url https://%s already exists.", issuer)
	}
	if provider.ThumbprintLists == nil {
		// IAM asks the issuer's server; it trusts GitHub's by its own authorities.
		provider.ThumbprintLists = []string{}
	}
	op.OpenIDConnectProviders[provider.ID] = &provider
	return provider.ID, nil
}

func (openIDConnectProvider) read(_ context.Context, op *operation, id string) (any, error) {
	return found(op.OpenIDConnectProviders, id)
}

func (openIDConnectProvider) update(_ context.Context, op *operation, id string, inputs property.Map) error {
	provider, err := found(op.OpenIDConnectProviders, id)
	if err != nil {
		return err
	}
	var next store.OpenIDConnectProvider
	if err := schema.Decode(inputs, &next); err != nil {
		return err
	}
	if err := checkClientIDs(next.ClientIDLists); err != nil {
		return err
	}
	provider.ClientIDLists = next.ClientIDLists
	if next.ThumbprintLists != nil {
		if err := checkThumbprints(next.ThumbprintLists); err != nil {
			return err
		}
		provider.ThumbprintLists = next.ThumbprintLists
	}
	provider.Tags = next.Tags
	return nil
}

// delete does not mind roles that trust the provider, as on AWS: nobody can come by it any more.
func (openIDConnectProvider) delete(_ context.Context, op *operation, id string) error {
	if _, err := found(op.OpenIDConnectProviders, id); err != nil {
		return err
	}
	delete(op.OpenIDConnectProviders, id)
	return nil
}

// issuerOf checks a provider's URL, and takes the scheme off, which may be left out.
func issuerOf(text string) (string, error) {
	issuer := strings.TrimPrefix(text, "https://")
	parsed, err := url.Parse("https://" + issuer)
	if err != nil || parsed.Hostname() == "" || !strings.Contains(parsed.Hostname(), ".") || parsed.Port() != "" ||
		parsed.RawQuery != "" || parsed.Fragment != "" || strings.Contains(issuer, "://") {
		return "", apiError("ValidationError", "Invalid Open ID Connect Provider URL %q: write https://HOST or https://HOST/PATH", text)
	}
	return issuer, nil
}

func checkClientIDs(ids []string) error {
	if len(ids) == 0 || len(ids) > maxClientIDs {
		return apiError("LimitExceeded", "clientIdLists has %d client ids: write 1 to %d", len(ids), maxClientIDs)
	}
	return nil
}

func checkThumbprints(thumbprints []string) error {
	wrong := func(text string) bool { return !regexp.MustCompile(`^[0-9a-fA-F]{40}$`).MatchString(text) }
	if len(thumbprints) > maxThumbprints {
		return apiError("LimitExceeded", "thumbprintLists has %d thumbprints: write at most %d", len(thumbprints), maxThumbprints)
	}
	if i := slices.IndexFunc(thumbprints, wrong); i >= 0 {
		return apiError("ValidationError", "thumbprintLists[%d] is %q: write the SHA-1 of a certificate, 40 hex digits", i, thumbprints[i])
	}
	return nil
}

func providerARN(issuer string) string { return iamARN("oidc-provider", "/", issuer) }
