// Package components are the parts of one stack, each a Pulumi component.
//
// A component reads no configuration: everything arrives in its Args, which it does not change.
// Their fields are mandatory unless their comment calls them optional or states a default. A field
// that may come from another resource is an Input; a field that decides which resources exist is
// plain. Ready lists the resources that another component has to wait for, since the SDK ignores
// the component itself in DependsOn.
package components

import (
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
)

// token is the type token of a component.
func token(name string) string {
	return "immutable-infra:index:" + name
}

// TagResources tags every resource of the program that takes tags with its name, the project and the stack. It comes
// before the first resource.
func TagResources(ctx *pulumi.Context) {
	tagged := reflect.TypeFor[pulumi.StringMapInput]()
	// It never fails.
	type result = pulumi.ResourceTransformationResult
	_ = ctx.RegisterStackTransformation(func(args *pulumi.ResourceTransformationArgs) *result {
		inputs := reflect.Indirect(reflect.ValueOf(args.Props))
		if inputs.Kind() != reflect.Struct {
			return nil
		}
		if tags := inputs.FieldByName("Tags"); tags.IsValid() && tags.Type() == tagged && tags.IsNil() {
			tags.Set(reflect.ValueOf(pulumi.StringMap{
				"Name":    pulumi.String(fmt.Sprintf("%s-%s-%s", ctx.Project(), ctx.Stack(), args.Name)),
				"Project": pulumi.String(ctx.Project()),
				"Stack":   pulumi.String(ctx.Stack()),
			}))
		}
		return &result{Props: args.Props, Opts: args.Opts}
	})
}

// formerly is the alias of a resource that earlier versions of the program created in another
// component.
func formerly(ctx *pulumi.Context, component, componentName, name string) pulumi.ResourceOption {
	parent := pulumi.CreateURN(pulumi.String(componentName), pulumi.String(token(component)), nil,
		pulumi.String(ctx.Project()), pulumi.String(ctx.Stack()))
	return pulumi.Aliases([]pulumi.Alias{{Name: pulumi.String(name), ParentURN: parent}})
}

var errNoArgs = errors.New("no Args given")

// required names the mandatory Args that are missing, in alphabetical order.
func required(args map[string]bool) error {
	var missing []error
	for _, name := range slices.Sorted(maps.Keys(args)) {
		if !args[name] {
			missing = append(missing, fmt.Errorf("the mandatory argument %s is missing", name))
		}
	}
	return errors.Join(missing...)
}
