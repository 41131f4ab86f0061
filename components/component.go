// Package components are the parts of one stack, each a Pulumi component.
//
// A component reads no configuration: everything arrives in its Args, whose
// fields are mandatory unless their comment states a default or calls them
// optional.
package components

import (
	"errors"
	"fmt"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
)

// token is the type token of a component.
func token(name string) string {
	return "immutable-infra:index:" + name
}

// tags are the tags of every resource that takes tags.
func tags(ctx *pulumi.Context, name string) pulumi.StringMap {
	return pulumi.StringMap{
		"Name":    pulumi.String(fmt.Sprintf("%s-%s-%s", ctx.Project(), ctx.Stack(), name)),
		"Project": pulumi.String(ctx.Project()),
		"Stack":   pulumi.String(ctx.Stack()),
	}
}

var errNoArgs = errors.New("no Args given")

// required names the mandatory Args that are missing.
func required(args map[string]bool) error {
	var missing []error
	for name, given := range args {
		if !given {
			missing = append(missing, fmt.Errorf("the mandatory argument %s is missing", name))
		}
	}
	return errors.Join(missing...)
}
