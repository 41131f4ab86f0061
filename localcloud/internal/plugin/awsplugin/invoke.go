package awsplugin

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	p "github.com/pulumi/pulumi-go-provider"

	"immutable-infra/localcloud/internal/plugin/awsplugin/schema"
	"immutable-infra/localcloud/internal/plugin/awsplugin/store"
)

// providerToken is the type of OIDC providers.
const providerToken = "aws:iam/openIdConnectProvider:OpenIdConnectProvider"

type function struct {
	arguments []string
	// may are the permissions that it needs, nil for none.
	may  func(q question) []call
	call func(op *operation, arguments store.Record) (store.Record, error)
}

func functions() map[string]function {
	return map[string]function{
		// Everybody may ask who they are, and no policy can deny it.
		"aws:index/getCallerIdentity:getCallerIdentity": {call: getCallerIdentity},
		// It asks no service.
		"aws:index/getRegion:getRegion": {call: getRegion},
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
				return append(calls, call{"iam:GetOpenIDConnectProvider", q.of(providerToken, arn)})
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
	arguments := store.Record(schema.Record(request.Args))
	err := pl.run(ctx, func(op *operation) error {
		if f.may != nil {
			if err := op.authorize(f.may(question{operation: op, inputs: arguments})); err != nil {
				return err
			}
		}
		result, err := f.call(op, arguments)
		response.Return = schema.Value(map[string]any(result)).AsMap()
		return err
	})
	if err != nil {
		return p.InvokeResponse{}, fmt.Errorf("invoke %s: %w", token, err)
	}
	return response, nil
}

func getCallerIdentity(op *operation, _ store.Record) (store.Record, error) {
	return store.Record{"id": accountID, "accountId": accountID, "userId": op.caller.UserID, "arn": op.caller.ARN}, nil
}

func getRegion(op *operation, _ store.Record) (store.Record, error) {
	return store.Record{
		"id": op.region, "name": op.region, "endpoint": "ec2." + op.region + ".amazonaws.com", "description": op.region,
	}, nil
}

func getOpenIDConnectProvider(op *operation, arguments store.Record) (store.Record, error) {
	arn, address := arguments.Text("arn"), arguments.Text("url")
	if (arn == "") == (address == "") {
		return nil, fmt.Errorf("write one of arn and url")
	}
	arn = cmp.Or(arn, op.plugin.kinds[providerToken].arnOf(op.region, "/", address))
	provider := maps.Clone(op.OpenIDConnectProviders[arn])
	if provider == nil {
		return nil, apiError("NoSuchEntity", "OpenIDConnect Provider not found for arn %s", arn)
	}
	if provider["tags"] == nil {
		provider["tags"] = map[string]any{}
	}
	return provider, nil
}
