package components

import (
	"fmt"
	"slices"
	"strings"

	"github.com/pulumi/pulumi-aws/sdk/v6/go/aws/route53"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
)

// addressTTL is the TTL of the site's address records, in seconds. The VIP outlives every server: a shorter TTL would
// only speed up a move of the site to another VIP.
const addressTTL = 300

// DNSArgs are the arguments of a DNS.
type DNSArgs struct {
	Names []string `pulumi:"names"`
	// Address is the IPv4 address of the site.
	Address pulumi.StringInput `pulumi:"address"`
	// ZoneID is the id of the Route 53 hosted zone that holds the names. Optional: without it, no record is created, and
	// ManualRecords lists the records to create.
	ZoneID pulumi.StringPtrInput `pulumi:"zoneId"`
	// Records are additional records in the zone. Optional.
	Records []Record `pulumi:"records"`
}

// Record is a set of DNS records with one name and type.
type Record struct {
	// Name is a fully qualified name without a trailing dot.
	Name string `pulumi:"name"`
	Type string `pulumi:"type"`
	// TTL is in seconds.
	TTL int `pulumi:"ttl"`
	// Values are in zone file format, except that the text of a TXT record is not quoted.
	Values []string `pulumi:"values"`
}

// DNS is the site's DNS records. They point to the VIP and do not depend on servers.
type DNS struct {
	pulumi.ResourceState

	// ManualRecords lists, as lines of a zone file, the records to create by hand if no zone was given.
	ManualRecords pulumi.StringArrayOutput `pulumi:"manualRecords"`
	// Ready lists all records, AddressesReady only those that point to the VIP.
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
		added, err := route53.NewRecord(ctx, fmt.Sprintf("%s-%s-%s", name, host, strings.ToLower(kind)), &route53.RecordArgs{
			ZoneId:  args.ZoneID.ToStringPtrOutput().Elem(),
			Name:    pulumi.String(host),
			Type:    pulumi.String(kind),
			Ttl:     pulumi.Int(ttl),
			Records: values,
		}, pulumi.Parent(dns))
		if err != nil {
			return fmt.Errorf("cannot create record %s of %s: %w", kind, host, err)
		}
		dns.Ready = append(dns.Ready, added)
		return nil
	}
	for _, host := range args.Names {
		if err := record(host, "A", addressTTL, pulumi.StringArray{args.Address}); err != nil {
			return nil, err
		}
	}
	dns.AddressesReady = slices.Clone(dns.Ready)
	for _, additional := range args.Records {
		values := additional.Values
		if additional.Type == "TXT" {
			values = txtValues(values)
		}
		if err := record(additional.Name, additional.Type, additional.TTL, pulumi.ToStringArray(values)); err != nil {
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

// zoneFileLines formats a set of records as in RFC 1035, section 5.
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

// maxTXTString is the maximum length of a string in a TXT record, in bytes.
const maxTXTString = 255

// txtValues formats the values of a TXT record for the provider. The provider adds the outer quotes; a text that is too
// long for one string needs inner quotes.
func txtValues(values []string) []string {
	escape := strings.NewReplacer(`\`, `\\`, `"`, `\"`)
	var quoted []string
	for _, value := range values {
		var parts []string
		for len(value) > maxTXTString {
			parts = append(parts, escape.Replace(value[:maxTXTString]))
			value = value[maxTXTString:]
		}
		quoted = append(quoted, strings.Join(append(parts, escape.Replace(value)), `""`))
	}
	return quoted
}
