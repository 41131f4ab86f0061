package gateway

import (
	_ "embed"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"text/template"
	"time"

	"immutable-infra/localcloud/internal/cloud"
)

const (
	outside         = "eth0"            // the interface on localcloud's network
	inside          = "vpc0"            // the bridge that the instances are attached to
	metadataAddress = "169.254.169.254" // of the instance metadata service, the same in every VPC
	maxPort         = 65535
	resetMark       = 1 // of the connections that forgetResets drops
)

var (
	//go:embed ruleset.nft
	rulesetTemplate string
	//go:embed dnsmasq.conf
	dnsmasqTemplate string
)

// chain is the nftables chain of an interface's security group rules in one direction. Packets that match return
// to the calling chain, and all other packets are dropped.
type chain struct {
	Name    string
	Matches []string
}

// divert determines where new packets to a public address arrive during a window. It is a map from the address to the
// old instance, or a set if the packets are dropped. Its only element times out in the kernel at the end of the window.
type divert struct {
	Name    string
	ToOld   bool
	Element string
}

// Ruleset returns the complete nftables configuration of a gateway at the time now. Loading it replaces the
// previous configuration in one transaction.
//
// A packet between an instance and the outside, or between two instances, must pass the sender's egress rules and
// the receiver's ingress rules. As on AWS, security groups do not apply to the instance metadata service and the
// DNS server.
func Ruleset(config cloud.GatewayConfig, state cloud.GatewayState, windows []window, now time.Time) (string, error) {
	elements := map[string][]string{} // by name of the set or map
	add := func(set, format string, values ...any) {
		elements[set] = append(elements[set], fmt.Sprintf(format, values...))
	}
	var chains []chain
	for i, eni := range state.Interfaces {
		add("bound", "%s . %s", cloud.MAC(eni.PrivateIP), eni.PrivateIP)
		add("egress", "%s : goto egress-%d", eni.PrivateIP, i)
		add("ingress", "%s : goto ingress-%d", eni.PrivateIP, i)
		if eni.PublicIP.IsValid() {
			add("inward", "%s : %s", eni.PublicIP, eni.PrivateIP)
			add("outward", "%s : %s", eni.PrivateIP, eni.PublicIP)
			add("public", "%s", eni.PrivateIP)
			add("held", "%s . %s", eni.PublicIP, eni.PrivateIP)
		}
		for _, direction := range []struct {
			name, address string
			rules         []cloud.Rule
		}{{"egress", "daddr", eni.Egress}, {"ingress", "saddr", eni.Ingress}} {
			group := chain{Name: fmt.Sprintf("%s-%d", direction.name, i)}
			for _, rule := range direction.rules {
				matches, err := match(rule, direction.address)
				if err != nil {
					return "", fmt.Errorf("%s rule of %s: %w", direction.name, eni.InstanceID, err)
				}
				group.Matches = append(group.Matches, matches...)
			}
			chains = append(chains, group)
		}
	}
	var diverts []divert
	for i, w := range windows {
		left := (w.Until.Sub(now) + time.Millisecond - 1) / time.Millisecond
		d := divert{Name: fmt.Sprintf("window-%d", i), Element: fmt.Sprintf("%s timeout %dms", w.Address, left)}
		// Packets to a terminated instance are dropped.
		if w.Arrive == cloud.AtOld && slices.ContainsFunc(state.Interfaces,
			func(eni cloud.NetworkInterface) bool { return eni.InstanceID == w.From.InstanceID }) {
			d.ToOld, d.Element = true, d.Element+" : "+w.From.PrivateIP.String()
		}
		diverts = append(diverts, d)
	}
	return render(rulesetTemplate, struct {
		cloud.GatewayConfig
		cloud.GatewayState
		S3                        netip.Addr
		Inside, Outside, Metadata string
		ResetMark                 int
		Elements                  map[string][]string
		Chains                    []chain
		Diverts                   []divert
	}{config, state, cloud.S3Address(), inside, outside, metadataAddress, resetMark, elements, chains, diverts})
}

// render executes a template of this package.
func render(source string, values any) (string, error) {
	parsed, err := template.New("gateway").Funcs(template.FuncMap{"join": strings.Join}).Parse(source)
	var text strings.Builder
	if err == nil {
		err = parsed.Execute(&text, values)
	}
	return text.String(), err
}

// match returns the nftables matches of one security group rule. address is "saddr" or "daddr". A rule without
// IPv4 ranges has no matches, because localcloud has no IPv6.
func match(rule cloud.Rule, address string) ([]string, error) {
	protocol, err := protocolMatch(rule)
	var statements []string
	for _, prefix := range rule.CIDRs {
		switch {
		case !prefix.Addr().Is4():
		case err != nil:
			return nil, err
		case prefix.Bits() == 0:
			statements = append(statements, protocol)
		default:
			statements = append(statements, strings.TrimSpace("ip "+address+" "+prefix.Masked().String()+" "+protocol))
		}
	}
	return statements, nil
}

func protocolMatch(rule cloud.Rule) (string, error) {
	switch rule.Protocol {
	case "-1":
		return "", nil
	case "tcp", "6":
		return portMatch("tcp", rule)
	case "udp", "17":
		return portMatch("udp", rule)
	case "icmp", "1":
		switch {
		case rule.FromPort < 0:
			return "ip protocol icmp", nil
		case rule.ToPort < 0:
			return fmt.Sprintf("icmp type %d", rule.FromPort), nil
		}
		return fmt.Sprintf("icmp type %d icmp code %d", rule.FromPort, rule.ToPort), nil
	}
	return "", fmt.Errorf("protocol %q: localcloud knows tcp, udp, icmp and -1 (all)", rule.Protocol)
}

func portMatch(protocol string, rule cloud.Rule) (string, error) {
	if rule.FromPort < 0 || rule.ToPort > maxPort || rule.FromPort > rule.ToPort {
		return "", fmt.Errorf("%s ports %d to %d: write two ports between 0 and %d, the lower one first", protocol,
			rule.FromPort, rule.ToPort, maxPort)
	}
	return fmt.Sprintf("%s dport %d-%d", protocol, rule.FromPort, rule.ToPort), nil
}

func dnsmasqConfig(config cloud.GatewayConfig) (string, error) {
	return render(dnsmasqTemplate, struct {
		cloud.GatewayConfig
		Mask                                    net.IP
		Inside, HostsFile, LeaseFile, DHCPFile  string
		Domain, Region, VictorOpsName, ZoneName string
		S3, Registry, DNS, VictorOps            netip.Addr
	}{
		config, net.IP(net.CIDRMask(config.VPC.CIDRBlock.Bits(), 32)), inside, hostsFile, leaseFile, dhcpFile,
		cloud.PrivateDomain, cloud.Region, cloud.VictorOpsName, cloud.ZoneName,
		cloud.S3Address(), cloud.RegistryAddress(), cloud.DNSAddress(), cloud.VictorOpsAddress(),
	})
}

// dhcpHosts returns the dnsmasq file that assigns every interface its private address.
func dhcpHosts(state cloud.GatewayState) string {
	var text strings.Builder
	for _, eni := range state.Interfaces {
		fmt.Fprintf(&text, "%s,%s,%s\n", cloud.MAC(eni.PrivateIP), eni.PrivateIP, cloud.PrivateHostname(eni.PrivateIP))
	}
	return text.String()
}

// hosts returns the hosts file with the private host names.
func hosts(state cloud.GatewayState) string {
	var text strings.Builder
	for _, eni := range state.Interfaces {
		name := cloud.PrivateHostname(eni.PrivateIP)
		fmt.Fprintf(&text, "%s %s.%s %s\n", eni.PrivateIP, name, cloud.PrivateDomain, name)
	}
	return text.String()
}
