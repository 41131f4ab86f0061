package components

import (
	"strings"
	"testing"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
	"github.com/stretchr/testify/require"
)

func TestLongTXTValuesAreSplitIntoStrings(t *testing.T) {
	require.Equal(t, []string{"v=spf1 -all", `a \"quoted\" word and a \\`},
		txtValues([]string{"v=spf1 -all", `a "quoted" word and a \`}))
	key := strings.Repeat("k", 600)
	require.Equal(t, []string{key[:255] + `""` + key[:255] + `""` + key[:90]}, txtValues([]string{key}))
}

// onlyComponents accepts components, but no resource of a provider.
type onlyComponents struct{ noResources }

func (m onlyComponents) NewResource(args pulumi.MockResourceArgs) (string, resource.PropertyMap, error) {
	if strings.HasPrefix(args.TypeToken, "immutable-infra:") {
		return args.Name, resource.PropertyMap{}, nil
	}
	return m.noResources.NewResource(args)
}

func TestRecordsAreListedWithoutAZone(t *testing.T) {
	manual := make(chan []string, 1)
	err := pulumi.RunErr(func(ctx *pulumi.Context) error {
		dns, err := NewDNS(ctx, "dns", &DNSArgs{
			Names:   []string{"example.org", "www.example.org"},
			Address: pulumi.String("198.51.100.7"),
			Records: []Record{
				{Name: "example.org", Type: "MX", TTL: 3600, Values: []string{"10 a.example.", "20 b.example."}},
				{Name: "example.org", Type: "TXT", TTL: 60, Values: []string{strings.Repeat("t", 256)}},
			},
		})
		if err != nil {
			return err
		}
		require.Empty(t, dns.Ready)
		dns.ManualRecords.ApplyT(func(lines []string) []string { manual <- lines; return lines })
		return nil
	}, pulumi.WithMocks("immutable-infra", "test", onlyComponents{noResources{t}}))
	require.NoError(t, err)
	require.Equal(t, []string{
		"example.org. 300 IN A 198.51.100.7",
		"www.example.org. 300 IN A 198.51.100.7",
		"example.org. 3600 IN MX 10 a.example.",
		"example.org. 3600 IN MX 20 b.example.",
		`example.org. 60 IN TXT "` + strings.Repeat("t", 255) + `" "t"`,
	}, <-manual)
}
