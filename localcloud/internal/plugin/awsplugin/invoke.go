package awsplugin

import (
	"context"
	"fmt"
	"slices"
	"strings"

	p "github.com/pulumi/pulumi-go-provider"

	"immutable-infra/localcloud/internal/plugin/awsplugin/schema"
)

// offeringsToken is the only supported function.
const offeringsToken = "aws:ec2/getInstanceTypeOfferings:getInstanceTypeOfferings"

func (pl *plugin) invoke(ctx context.Context, request p.InvokeRequest) (response p.InvokeResponse, err error) {
	if request.Token != offeringsToken {
		return response, fmt.Errorf("localcloud does not support function %s; it supports %s", request.Token, offeringsToken)
	}
	known := []string{"filters", "locationType"}
	for name, value := range request.Args.AllStable {
		if !value.IsNull() && !slices.Contains(known, name) {
			return response, fmt.Errorf("unknown argument %q of %s; valid arguments: %s",
				name, offeringsToken, strings.Join(known, ", "))
		}
	}
	err = pl.run(ctx, func(op *operation) error {
		needed := call{action: "ec2:DescribeInstanceTypeOfferings", target: target{arn: "*"}}
		if err := op.authorize([]call{needed}); err != nil {
			return err
		}
		result, err := getInstanceTypeOfferings(op, schema.Record(request.Args))
		response.Return = schema.Value(map[string]any(result)).AsMap()
		return err
	})
	if err != nil {
		return p.InvokeResponse{}, fmt.Errorf("cannot invoke %s: %w", offeringsToken, err)
	}
	return response, nil
}
