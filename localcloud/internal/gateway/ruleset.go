package gateway

import (
	"fmt"
	"strings"

	"immutable-infra/localcloud/internal/cloud"
)

const (
	outside = "eth0" // the interface on localcloud's network
	inside  = "vpc0" // the bridge to which the instances are plugged
	// metadataAddress is the instance metadata service's, the same on every VPC.
	metadataAddress = "169.254.169.254"
	maxPort         = 65535
)

// Ruleset is the whole nftables configuration of a gateway. Loading it replaces
// what was there in one transaction.
//
// A packet between an instance and the world, or between two instances, has to
// pass the sender's egress rules and the receiver's ingress rules; the instance
// metadata service and the DNS server stand outside security groups, as on AWS.
func Ruleset(config cloud.GatewayConfig, state cloud.GatewayState) (string, error) {
	var inward, outward, bound, egress, ingress, public []string
	var groups, hops strings.Builder
	for i, eni := range state.Interfaces {
		private := eni.PrivateIP.String()
		bound = append(bound, cloud.MAC(eni.PrivateIP)+" . "+private)
		egress = append(egress, fmt.Sprintf("%s : goto egress-%d", private, i))
		ingress = append(ingress, fmt.Sprintf("%s : goto ingress-%d", private, i))
		if eni.PublicIP.IsValid() {
			inward = append(inward, eni.PublicIP.String()+" : "+private)
			outward = append(outward, private+" : "+eni.PublicIP.String())
			public = append(public, private)
		}
		if eni.Metadata.HopLimit > 0 {
			fmt.Fprintf(&hops, "\t\tip saddr %s ip daddr %s ip ttl set %d\n", metadataAddress, private, eni.Metadata.HopLimit)
		}
		for _, direction := range []struct {
			name, match string
			rules       []cloud.Rule
		}{{"egress", "daddr", eni.Egress}, {"ingress", "saddr", eni.Ingress}} {
			fmt.Fprintf(&groups, "\tchain %s-%d {\n", direction.name, i)
			for _, rule := range direction.rules {
				statements, err := match(rule, direction.match)
				if err != nil {
					return "", fmt.Errorf("%s rule of %s: %w", direction.name, eni.InstanceID, err)
				}
				for _, statement := range statements {
					fmt.Fprintf(&groups, "\t\t%s return\n", statement)
				}
			}
			fmt.Fprintf(&groups, "\t\tdrop\n\t}\n")
		}
	}

	var text strings.Builder
	text.WriteString("table ip vpc\ndelete table ip vpc\ntable ip vpc {\n")
	writeSet(&text, "map inward", "ipv4_addr : ipv4_addr", inward)
	writeSet(&text, "map outward", "ipv4_addr : ipv4_addr", outward)
	writeSet(&text, "set bound", "ether_addr . ipv4_addr", bound)
	writeSet(&text, "set public", "ipv4_addr", public)
	writeSet(&text, "map egress", "ipv4_addr : verdict", egress)
	writeSet(&text, "map ingress", "ipv4_addr : verdict", ingress)
	text.WriteString(groups.String())
	fmt.Fprintf(&text, `	chain source-check {
		type filter hook prerouting priority raw; policy accept;
		iifname "%[1]s" ip saddr 0.0.0.0 udp dport 67 accept
		iifname "%[1]s" ether saddr . ip saddr != @bound drop
	}
	chain prerouting {
		type nat hook prerouting priority dstnat; policy accept;
		dnat to ip daddr map @inward
	}
	chain input {
		type filter hook input priority filter; policy drop;
		iif lo accept
		ct state established,related accept
		iifname "%[1]s" udp dport 67 accept
		iifname "%[1]s" ip daddr %[3]s meta l4proto { tcp, udp } th dport 53 accept
		iifname "%[1]s" ip daddr %[4]s tcp dport 80 accept
		iifname "%[1]s" icmp type echo-request accept
	}
	chain forward {
		type filter hook forward priority filter; policy drop;
		ct state established,related accept
		ct state invalid drop
		iifname "%[1]s" jump egress-check
		oifname "%[1]s" jump ingress-check
		accept
	}
	chain egress-check {
		oifname "%[2]s" ip saddr != @public ip daddr != %[5]s drop
		ip saddr vmap @egress
		drop
	}
	chain ingress-check {
		ip daddr vmap @ingress
		drop
	}
	chain postrouting {
		type nat hook postrouting priority srcnat; policy accept;
		oifname "%[2]s" snat to ip saddr map @outward
		oifname "%[2]s" ip saddr %[6]s masquerade
		oifname "%[1]s" ct status dnat snat to ip saddr map @outward
	}
	chain output {
		type filter hook output priority filter; policy accept;
%[7]s	}
}
`, inside, outside, config.VPC.Resolver(), metadataAddress, config.S3, config.VPC.CIDRBlock.Masked(), hops.String())
	return text.String(), nil
}

func writeSet(text *strings.Builder, name, kind string, elements []string) {
	fmt.Fprintf(text, "\t%s {\n\t\ttype %s\n", name, kind)
	if len(elements) > 0 {
		fmt.Fprintf(text, "\t\telements = { %s }\n", strings.Join(elements, ", "))
	}
	text.WriteString("\t}\n")
}

// match renders the conditions of one security group rule; address is "saddr"
// or "daddr". A rule without IPv4 ranges matches nothing, because localcloud
// has no IPv6.
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
