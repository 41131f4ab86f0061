package components

import (
	"fmt"
	"slices"
	"strings"

	"github.com/pulumi/pulumi-aws/sdk/v6/go/aws/route53"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
)

// addressTTL is for how many seconds resolvers cache the site's address. The VIP outlives every server: a short TTL
// would only speed up a move of the site to another VIP.
const addressTTL = 300

// DNSArgs are the arguments of a DNS.
type DNSArgs struct {
	Names []string `pulumi:"names"`
	// Address is the IPv4 address of the site.
	Address pulumi.StringInput `pulumi:"address"`
	// ZoneID is the id of the Route 53 hosted zone that holds the names.
	// Optional: without it, no record is created, and ManualRecords lists them.
	ZoneID pulumi.StringPtrInput `pulumi:"zoneId"`
	// Records are further records of the zone. Optional.
	Records []Record `pulumi:"records"`
}

// Record is a set of DNS records with one name and type.
type Record struct {
	// Name is a full name, without a dot at its end.
	Name string `pulumi:"name"`
	Type string `pulumi:"type"`
	// TTL is in seconds.
	TTL int `pulumi:"ttl"`
	// Values are in the form of a zone file. The text of a TXT record is without quotes.
	Values []string `pulumi:"values"`
}

// DNS is the site's DNS records. They point to the VIP and do not depend on servers.
type DNS struct {
	pulumi.ResourceState

	// ManualRecords lists, as lines of a zone file, the records to create by hand if no zone was
	// given.
	ManualRecords pulumi.StringArrayOutput `pulumi:"manualRecords"`
	// Ready are all records, AddressesReady those of them that point to the VIP.
	Ready, AddressesReady []pulumi.Resource
}

// NewDNS creates a DNS.
func NewDNS(ctx *pulumi.Context, name string, args *DNSArgs, opts ...pulumi.ResourceOption) (*DNS, error) {
	if args == nil {
		return nil, fmt.Errorf("DNS %s: %w", name, errNoArgs)
	}
	if err := required(map[string]bool{"Names": len(args.Names) > 0, "Address": args.Address != nil}); err != nil {
		return nil, fmt.Errorf("DNS %s: %w", name, err)
	}
	dns := &DNS{}
	if err := ctx.RegisterComponentResource(token("DNS"), name, dns, opts...); err != nil {
		return nil, err
	}

	var sets []any
	record := func(host, kind string, ttl int, values pulumi.StringArrayInput) error {
		if args.ZoneID == nil {
			sets = append(sets, zoneFileLines(host, kind, ttl, values))
			return nil
		}
		made, err := route53.NewRecord(ctx, fmt.Sprintf("%s-%s-%s", name, host, strings.ToLower(kind)), &route53.RecordArgs{
			ZoneId:  args.ZoneID.ToStringPtrOutput().Elem(),
			Name:    pulumi.String(host),
			Type:    pulumi.String(kind),
			Ttl:     pulumi.Int(ttl),
			Records: values,
		}, pulumi.Parent(dns))
		if err != nil {
			return fmt.Errorf("cannot create record %s of %s: %w", kind, host, err)
		}
		dns.Ready = append(dns.Ready, made)
		return nil
	}
	for _, host := range args.Names {
		if err := record(host, "A", addressTTL, pulumi.StringArray{args.Address}); err != nil {
			return nil, err
		}
	}
	dns.AddressesReady = slices.Clone(dns.Ready)
	for _, further := range args.Records {
		values := further.Values
		if further.Type == "TXT" {
			values = texts(values)
		}
		if err := record(further.Name, further.Type, further.TTL, pulumi.ToStringArray(values)); err != nil {
			return nil, err
		}
	}
	dns.ManualRecords = pulumi.All(sets...).ApplyT(func(sets []any) []string {
		lines := []string{}
		for _, set := range sets {
			lines = append(lines, set.([]string)...)
		}
		return lines
	}).(pulumi.StringArrayOutput)
	return dns, ctx.RegisterResourceOutputs(dns, pulumi.Map{"manualRecords": dns.ManualRecords})
}

// zoneFileLines are a set of records in the format of RFC 1035, section 5.
func zoneFileLines(host, kind string, ttl int, values pulumi.StringArrayInput) pulumi.StringArrayOutput {
	return values.ToStringArrayOutput().ApplyT(func(values []string) []string {
		var lines []string
		for _, value := range values {
			if kind == "TXT" {
				value = `"` + strings.ReplaceAll(value, `""`, `" "`) + `"`
			}
			lines = append(lines, fmt.Sprintf("%s. %d IN %s %s", host, ttl, kind, value))
		}
		return lines
	}).(pulumi.StringArrayOutput)
}

// longestText is how many bytes a string of a TXT record may have.
const longestText = 255

// texts are the values of a TXT record for the provider. It adds the outer quotes; a text that is too long for one
// string needs inner ones.
func texts(values []string) []string {
	escape := strings.NewReplacer(`\`, `\\`, `"`, `\"`)
	var quoted []string
	for _, value := range values {
		var parts []string
		for len(value) > longestText {
			parts = append(parts, escape.Replace(value[:longestText]))
			value = value[longestText:]
		}
		quoted = append(quoted, strings.Join(append(parts, escape.Replace(value)), `""`))
	}
	return quoted
}
