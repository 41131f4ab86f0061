package components_test

import (
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"immutable-infra/components"
)

// Example creates an address for a site and the DNS records that point to it, in an existing zone.
func Example() {
	program := func(ctx *pulumi.Context) error {
		components.TagResources(ctx)
		vip, err := components.NewVIP(ctx, "vip", nil)
		if err != nil {
			return err
		}
		_, err = components.NewDNS(ctx, "dns", &components.DNSArgs{
			Names:   []string{"example.org", "www.example.org"},
			Address: vip.Address,
			ZoneID:  pulumi.String("Z0123456789ABCDEFGHIJ").ToStringPtrOutput(),
			Records: []components.Record{{Name: "example.org", Type: "MX", TTL: 3600, Values: []string{"10 mail.example.net."}}},
		})
		return err
	}
	// A real program calls pulumi.Run.
	cloud := &cloud{}
	if err := pulumi.RunErr(program, pulumi.WithMocks("example", "production", cloud)); err != nil {
		fmt.Println(err)
	}
	fmt.Println(strings.Join(slices.Sorted(slices.Values(cloud.created)), "\n"))
	// Output:
	// Eip vip, tagged example-production-vip
	// Record dns-example.org-a of 198.51.100.7
	// Record dns-example.org-mx of 10 mail.example.net.
	// Record dns-www.example.org-a of 198.51.100.7
}

// cloud stands in for the engine and AWS.
type cloud struct {
	mutex   sync.Mutex
	created []string
}

func (c *cloud) NewResource(args pulumi.MockResourceArgs) (string, resource.PropertyMap, error) {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	outputs := args.Inputs.Copy()
	switch args.TypeToken {
	case "aws:ec2/eip:Eip":
		outputs["publicIp"] = resource.NewStringProperty("198.51.100.7")
		c.created = append(c.created,
			fmt.Sprintf("Eip %s, tagged %s", args.Name, args.Inputs["tags"].ObjectValue()["Name"].StringValue()))
	case "aws:route53/record:Record":
		c.created = append(c.created,
			fmt.Sprintf("Record %s of %s", args.Name, args.Inputs["records"].ArrayValue()[0].StringValue()))
	}
	return args.Name + "-id", outputs, nil
}

func (*cloud) Call(pulumi.MockCallArgs) (resource.PropertyMap, error) { return nil, nil }
