// Package components contains the parts of a stack, each a Pulumi component.
//
// A component reads no configuration: it gets everything from its Args, and does not modify them. Fields of Args are
// mandatory unless their comment calls them optional or states a default. A field whose value may come from another
// resource is an Input; a field that decides which resources exist is a plain value. Ready lists the resources that
// other components must wait for, because the SDK ignores the component itself in DependsOn.
package components

import (
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
)

// token returns the type token of a component.
func token(name string) string {
	return "immutable-infra:index:" + name
}

// TagResources tags every resource that supports tags with its name, the project and the stack, in addition to a
// pulumi.StringMap in its arguments. Call it before registering any resource.
func TagResources(ctx *pulumi.Context) {
	tagged := reflect.TypeFor[pulumi.StringMapInput]()
	type result = pulumi.ResourceTransformationResult
	// RegisterStackTransformation never fails.
	_ = ctx.RegisterStackTransformation(func(args *pulumi.ResourceTransformationArgs) *result {
		inputs := reflect.Indirect(reflect.ValueOf(args.Props))
		if inputs.Kind() != reflect.Struct {
			return nil
		}
		tags := inputs.FieldByName("Tags")
		if !tags.IsValid() || tags.Type() != tagged {
			return nil
		}
		own, extensible := tags.Interface().(pulumi.StringMap)
		if !extensible && !tags.IsNil() {
			return nil
		}
		all := pulumi.StringMap{
			"Name":    pulumi.String(fmt.Sprintf("%s-%s-%s", ctx.Project(), ctx.Stack(), args.Name)),
			"Project": pulumi.String(ctx.Project()),
			"Stack":   pulumi.String(ctx.Stack()),
		}
		maps.Copy(all, own)
		tags.Set(reflect.ValueOf(all))
		return &result{Props: args.Props, Opts: args.Opts}
	})
}

// movedFrom returns the alias of a resource that earlier versions of the program created in another component.
func movedFrom(ctx *pulumi.Context, component, componentName, name string) pulumi.ResourceOption {
	parent := pulumi.CreateURN(pulumi.String(componentName), pulumi.String(token(component)), nil,
		pulumi.String(ctx.Project()), pulumi.String(ctx.Stack()))
	return pulumi.Aliases([]pulumi.Alias{{Name: pulumi.String(name), ParentURN: parent}})
}

var errNoArgs = errors.New("no Args given")

// required returns an error that lists the missing mandatory Args in alphabetical order, or nil.
func required(args map[string]bool) error {
	var missing []error
	for _, name := range slices.Sorted(maps.Keys(args)) {
		if !args[name] {
			missing = append(missing, fmt.Errorf("the mandatory argument %s is missing", name))
		}
	}
	return errors.Join(missing...)
}
