package awsplugin

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	p "github.com/pulumi/pulumi-go-provider"
	"github.com/pulumi/pulumi/sdk/v3/go/property"

	"immutable-infra/localcloud/internal/plugin/awsplugin/schema"
)

// providerToken is the type of OIDC providers.
const providerToken = "aws:iam/openIdConnectProvider:OpenIdConnectProvider"

// function is a function of the provider, with the arguments that it takes.
type function struct {
	arguments []string
	// may are the permissions that it needs.
	may  func(q question) []call
	call func(op *operation, arguments property.Map) (property.Map, error)
}

func functions() map[string]function {
	return map[string]function{
		"aws:index/getCallerIdentity:getCallerIdentity": {
			// Everybody may ask who they are, and no policy can deny it.
			may:  func(question) []call { return nil },
			call: getCallerIdentity,
		},
		"aws:index/getRegion:getRegion": {
			may:  func(question) []call { return nil }, // it asks no service
			call: getRegion,
		},
		"aws:ec2/getInstanceTypeOfferings:getInstanceTypeOfferings": {
			arguments: []string{"filters", "locationType"},
			may:       func(q question) []call { return q.clauses("ec2:DescribeInstanceTypeOfferings") },
			call:      getInstanceTypeOfferings,
		},
		"aws:iam/getOpenIdConnectProvider:getOpenIdConnectProvider": {
			arguments: []string{"arn", "url"},
			may: func(q question) []call {
				calls := q.clauses("iam:ListOpenIDConnectProviders")
				arn := q.text("arn")
				if arn != "" {
					calls = nil
				}
				arn = cmp.Or(arn, q.plugin.kinds[providerToken].arnOf(q.region, "/", q.text("url")))
				return append(calls, q.on("iam:GetOpenIDConnectProvider", q.of(providerToken, arn))...)
			},
			call: getOpenIDConnectProvider,
		},
	}
}

func (pl *plugin) invoke(ctx context.Context, request p.InvokeRequest) (p.InvokeResponse, error) {
	token := string(request.Token)
	f, ok := functions()[token]
	if !ok {
		return p.InvokeResponse{}, fmt.Errorf("localcloud does not support function %s; it supports %s",
			token, strings.Join(slices.Sorted(maps.Keys(functions())), ", "))
	}
	for name, value := range request.Args.AllStable {
		if !value.IsNull() && !slices.Contains(f.arguments, name) {
			takes := "none"
			if len(f.arguments) > 0 {
				takes = strings.Join(f.arguments, ", ")
			}
			return p.InvokeResponse{}, fmt.Errorf("unknown argument %q of %s, which takes %s", name, token, takes)
		}
	}
	var response p.InvokeResponse
	err := pl.run(ctx, func(op *operation) error {
		if err := op.authorize(f.may(question{operation: op, inputs: request.Args})); err != nil {
			return err
		}
		var err error
		response.Return, err = f.call(op, request.Args)
		return err
	})
	if err != nil {
		return p.InvokeResponse{}, fmt.Errorf("invoke %s: %w", token, err)
	}
	return response, nil
}

func getCallerIdentity(op *operation, _ property.Map) (property.Map, error) {
	return property.NewMap(map[string]property.Value{
		"id":        property.New(accountID),
		"accountId": property.New(accountID),
		"userId":    property.New(op.caller.UserID),
		"arn":       property.New(op.caller.ARN),
	}), nil
}

func getRegion(op *operation, _ property.Map) (property.Map, error) {
	return property.NewMap(map[string]property.Value{
		"id":          property.New(op.region),
		"name":        property.New(op.region),
		"endpoint":    property.New("ec2." + op.region + ".amazonaws.com"),
		"description": property.New(op.region),
	}), nil
}

func getOpenIDConnectProvider(op *operation, arguments property.Map) (property.Map, error) {
	q := question{operation: op, inputs: arguments}
	arn, address := q.text("arn"), q.text("url")
	if (arn == "") == (address == "") {
		return property.Map{}, fmt.Errorf("write one of arn and url")
	}
	arn = cmp.Or(arn, op.plugin.kinds[providerToken].arnOf(op.region, "/", address))
	provider := op.OpenIDConnectProviders[arn]
	if provider == nil {
		return property.Map{}, apiError("NoSuchEntity", "OpenIDConnect Provider not found for arn %s", arn)
	}
	properties := schema.Value(map[string]any(provider)).AsMap()
	if properties.Get("tags").IsNull() {
		properties = properties.Set("tags", property.New(map[string]property.Value{}))
	}
	return properties, nil
}
