package awsplugin

import (
	"context"
	"encoding/xml"
	"errors"
	"maps"
	"net/url"

	p "github.com/pulumi/pulumi-go-provider"
	presource "github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/pulumi/pulumi/sdk/v3/go/property"

	"immutable-infra/localcloud/internal/plugin/awsplugin/store"
)

// EC2 implements those actions of EC2's query API that the project's own programs use to move the VIP. given are
// the caller's credentials. Each action runs the equivalent operation of the plugin. The caller has to encode the
// result as XML.
func EC2(ctx context.Context, dir, region string, given store.Account, form url.Values) (any, error) {
	pl, err := open(dir, given)
	if err != nil {
		return nil, err
	}
	return pl.ec2(ctx, region, form)
}

func (pl *plugin) ec2(ctx context.Context, region string, form url.Values) (any, error) {
	pl.region.Store(&region)
	urn := func(token string) presource.URN { return presource.URN("urn:pulumi:api::ec2::" + token + "::request") }
	switch action := form.Get("Action"); action {
	case "DescribeAddresses":
		described := addresses{XMLName: responseName(action)}
		err := pl.run(ctx, func(op *operation) error {
			if err := op.authorize([]call{{action: "ec2:DescribeAddresses", target: target{arn: "*"}}}); err != nil {
				return err
			}
			id := form.Get("AllocationId.1")
			a, found := op.Addresses[id]
			if !found {
				return apiError("InvalidAllocationID.NotFound", "The allocation ID '%s' does not exist", id)
			}
			described.Items = []address{{
				PublicIP: a.Text("publicIp"), AllocationID: id,
				AssociationID: a.Text("associationId"), InstanceID: a.Text("instance"),
			}}
			return nil
		})
		return described, err
	case "AssociateAddress":
		created, err := pl.create(ctx, p.CreateRequest{
			Urn: urn("aws:ec2/eipAssociation:EipAssociation"),
			Properties: property.NewMap(map[string]property.Value{
				"allocationId":       property.New(form.Get("AllocationId")),
				"instanceId":         property.New(form.Get("InstanceId")),
				"allowReassociation": property.New(form.Get("AllowReassociation") == "true"),
			}),
		})
		return association{XMLName: responseName(action), Return: true, AssociationID: created.ID}, err
	case "CreateTags":
		id, tag := form.Get("ResourceId.1"), map[string]string{form.Get("Tag.1.Key"): form.Get("Tag.1.Value")}
		err := pl.run(ctx, func(op *operation) error {
			i, found := op.Instances[id]
			if !found {
				return apiError("InvalidID", "The ID '%s' is not valid; localcloud tags instances only", id)
			}
			q := accessQuery{operation: op, kind: pl.kinds["aws:ec2/instance:Instance"], id: id}
			if err := op.authorize([]call{{action: "ec2:CreateTags", target: q.self().with(requestTags(tag))}}); err != nil {
				return err
			}
			all := map[string]any{}
			maps.Copy(all, i.Shown.Object("tags"))
			for key, value := range tag {
				all[key] = value
			}
			i.Shown["tags"] = all
			return nil
		})
		return tagged{XMLName: responseName(action), Return: true}, err
	case "TerminateInstances":
		id := form.Get("InstanceId.1")
		instance := urn("aws:ec2/instance:Instance")
		_, err := pl.checkDelete(ctx, instance, accessQuery{id: id})
		if errors.Is(err, errNotFound) {
			return nil, apiError("InvalidInstanceID.NotFound", "The instance ID '%s' does not exist", id)
		}
		if err == nil {
			// EC2 responds before the instance shuts down. If the deletion fails, the instance is still listed.
			go func(ctx context.Context) {
				_ = pl.delete(ctx, p.DeleteRequest{Urn: instance, ID: id})
			}(context.WithoutCancel(ctx))
		}
		return terminated{XMLName: responseName(action), InstanceID: id, State: "shutting-down"}, err
	default:
		return nil, apiError("InvalidAction",
			"The action %s is not valid for this web service: localcloud supports DescribeAddresses, "+
				"AssociateAddress, CreateTags and TerminateInstances", action)
	}
}

func responseName(action string) xml.Name {
	return xml.Name{Space: "http://ec2.amazonaws.com/doc/2016-11-15/", Local: action + "Response"}
}

type addresses struct {
	XMLName xml.Name
	Items   []address `xml:"addressesSet>item"`
}

type address struct {
	PublicIP      string `xml:"publicIp"`
	AllocationID  string `xml:"allocationId"`
	AssociationID string `xml:"associationId,omitempty"`
	InstanceID    string `xml:"instanceId,omitempty"`
}

type association struct {
	XMLName       xml.Name
	Return        bool   `xml:"return"`
	AssociationID string `xml:"associationId"`
}

type tagged struct {
	XMLName xml.Name
	Return  bool `xml:"return"`
}

type terminated struct {
	XMLName    xml.Name
	InstanceID string `xml:"instancesSet>item>instanceId"`
	State      string `xml:"instancesSet>item>currentState>name"`
}
