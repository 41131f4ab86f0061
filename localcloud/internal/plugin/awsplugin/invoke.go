package awsplugin

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	p "github.com/pulumi/pulumi-go-provider"
	"github.com/pulumi/pulumi/sdk/v3/go/property"
)

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
