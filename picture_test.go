package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"immutable-infra/internal/golden"
)

// componentType is the prefix of the types of the program's own components.
const componentType = "immutable-infra:index:"

// box is a component in the diagram.
type box struct {
	kind, name string
	protected  bool
	// parts maps types to the names of the component's resources, needs has the components that some of them depend on.
	parts map[string][]string
	needs map[string]bool
}

// boxes returns a stack's components by name.
func boxes(resources []registered) map[string]*box {
	all := map[string]*box{}
	// in maps the URN of a resource to its component.
	in := map[string]*box{}
	for _, r := range resources {
		if kind, own := strings.CutPrefix(r.Type, componentType); own {
			all[r.Name] = &box{kind: kind, name: r.Name, parts: map[string][]string{}, needs: map[string]bool{}}
			in[r.URN] = all[r.Name]
			continue
		}
		component := in[r.Parent]
		in[r.URN] = component
		kind := r.Type[strings.LastIndex(r.Type, ":")+1:]
		component.parts[kind] = append(component.parts[kind], r.Name)
		component.protected = component.protected || r.Protect
	}
	for _, r := range resources {
		for _, dependency := range r.DependsOn {
			if in[dependency] != in[r.URN] {
				in[r.URN].needs[in[dependency].name] = true
			}
		}
	}
	return all
}

// label returns the text of a component in the diagram.
func (b *box) label() string {
	lines := []string{"<b>" + b.kind + "</b>"}
	for _, kind := range slices.Sorted(maps.Keys(b.parts)) {
		names := slices.Sorted(slices.Values(b.parts[kind]))
		switch {
		case len(names) > 2:
			lines = append(lines, fmt.Sprintf("%d × %s", len(names), kind))
		case len(names) == 1 && names[0] == b.name:
			lines = append(lines, kind)
		default:
			lines = append(lines, kind+" "+strings.Join(names, ", "))
		}
	}
	return strings.Join(lines, "<br/>")
}

// picture draws components as a Mermaid flowchart.
func picture(all map[string]*box) string {
	var text strings.Builder
	text.WriteString("flowchart TB\n")
	for _, name := range slices.Sorted(maps.Keys(all)) {
		fmt.Fprintf(&text, "  %s[\"%s\"]\n", name, all[name].label())
		if all[name].protected {
			fmt.Fprintf(&text, "  style %s stroke-width:4px\n", name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(all)) {
		for _, dependency := range slices.Sorted(maps.Keys(all[name].needs)) {
			fmt.Fprintf(&text, "  %s --> %s\n", name, dependency)
		}
	}
	return text.String()
}

const aboutThePicture = `# Architecture

` + "`main.go`" + ` composes one stack from these components. Each is one file in ` + "`components/`" + `.

| component | purpose |
|---|---|
| ` + "`Network`" + ` | VPC, public subnet, internet gateway, routes, gateway endpoint for S3 |
| ` + "`ContentBucket`" + ` | the site's bucket, the Jekyll build and the sync; both run only when the source changed |
| ` + "`BackupBucket`" + ` | data that outlives servers; protected, versioned, with a bounded number of versions |
| ` + "`DNS`" + ` | the records in a Route 53 zone, or a list of records to create by hand |
| ` + "`SshCA`" + ` | an SSH certificate authority, the servers' host key and its certificate |
| ` + "`WebServer`" + ` | security group, instance role, the instance, its provisioning over SSH |
| ` + "`VIP`" + ` | the persistent public address, an Elastic IP |
| ` + "`Cutover`" + ` | the association of the VIP with a ready server, and the probe of the site after it |
| ` + "`UptimeMonitor`" + ` | monitors at UptimeRobot, their web-hook to VictorOps, a public status page |
| ` + "`DeletionGuard`" + ` | makes ` + "`pulumi destroy`" + ` of a protected stack fail before it deletes anything |

## Resources

The diagram shows the components of the stack *production* with their resources, with UptimeRobot
switched on. An arrow leads from a component to one that must exist first, for at least one of its
resources. Protected components have a thick frame. The deletion guard depends on all of them and is
left out.

` + "`make graph`" + ` draws the diagram from the program, and a test fails when it is out of date.

`

func TestPictureMatchesTheProgram(t *testing.T) {
	all := boxes(deployed(t, "production", withUptimeRobot))
	delete(all, "guard")
	require.Len(t, all, 9)
	require.True(t, all["web"].needs["content"], "a server created before the site is uploaded has nothing to serve")
	require.True(t, all["cutover"].needs["web"], "the VIP moves to a server that is ready")
	require.False(t, all["backup"].needs["web"], "resources that outlive servers do not depend on them")
	golden.Equal(t, "../docs/architecture.md", aboutThePicture+"```mermaid\n"+picture(all)+"```\n")
}
