package imds

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	"immutable-infra/localcloud/internal/cloud"
)

// defaultLifetime is how long credentials of a role are valid when the role
// does not say.
const defaultLifetime = 6 * time.Hour

// tree is every document of one instance, by its path below the version. A
// directory is there by its documents.
type tree struct {
	documents map[string][]byte
	keyName   string // of the instance's key pair
}

func newTree(eni cloud.NetworkInterface, now time.Time) (*tree, error) {
	data := eni.Metadata
	mac := cloud.MAC(eni.PrivateIP)
	hostname := cloud.PrivateHostname(eni.PrivateIP) + "." + cloud.PrivateDomain(data.Region)
	network := "meta-data/network/interfaces/macs/" + mac + "/"
	t := &tree{documents: map[string][]byte{}, keyName: data.KeyName}
	for path, text := range map[string]string{
		"meta-data/ami-id":                       data.AMI,
		"meta-data/ami-launch-index":             "0",
		"meta-data/ami-manifest-path":            "(unknown)",
		"meta-data/block-device-mapping/ami":     "/dev/xvda",
		"meta-data/block-device-mapping/root":    "/dev/xvda",
		"meta-data/hostname":                     hostname,
		"meta-data/instance-action":              "none",
		"meta-data/instance-id":                  eni.InstanceID,
		"meta-data/instance-life-cycle":          "on-demand",
		"meta-data/instance-type":                data.InstanceType,
		"meta-data/local-hostname":               hostname,
		"meta-data/local-ipv4":                   eni.PrivateIP.String(),
		"meta-data/mac":                          mac,
		"meta-data/placement/availability-zone":  data.AvailabilityZone,
		"meta-data/placement/region":             data.Region,
		"meta-data/profile":                      "default-hvm",
		"meta-data/reservation-id":               "r-" + strings.TrimPrefix(eni.InstanceID, "i-"),
		"meta-data/security-groups":              strings.Join(data.SecurityGroups, "\n"),
		"meta-data/services/domain":              "amazonaws.com",
		"meta-data/services/partition":           "aws",
		"meta-data/system":                       "nitro",
		network + "device-number":                "0",
		network + "interface-id":                 "eni-" + strings.TrimPrefix(eni.InstanceID, "i-"),
		network + "local-hostname":               hostname,
		network + "local-ipv4s":                  eni.PrivateIP.String(),
		network + "mac":                          mac,
		network + "owner-id":                     data.AccountID,
		network + "security-groups":              strings.Join(data.SecurityGroups, "\n"),
		network + "subnet-id":                    data.SubnetID,
		network + "subnet-ipv4-cidr-block":       prefix(data.SubnetCIDR),
		network + "vpc-id":                       data.VpcID,
		network + "vpc-ipv4-cidr-block":          prefix(data.VpcCIDR),
		network + "vpc-ipv4-cidr-blocks":         prefix(data.VpcCIDR),
		"dynamic/instance-identity/signature":    "",
		"dynamic/fws/instance-monitoring":        "disabled",
		"meta-data/metrics/vhostmd":              `<?xml version="1.0" encoding="UTF-8"?>`,
		"meta-data/events/maintenance/history":   "[]",
		"meta-data/events/maintenance/scheduled": "[]",
	} {
		t.documents[path] = []byte(text)
	}
	if data.UserData != nil {
		t.documents["user-data"] = data.UserData
	}
	if eni.PublicIP.IsValid() {
		public := eni.PublicIP.String()
		name := "ec2-" + strings.ReplaceAll(public, ".", "-") + ".compute-1.amazonaws.com"
		t.documents["meta-data/public-ipv4"] = []byte(public)
		t.documents["meta-data/public-hostname"] = []byte(name)
		t.documents[network+"public-ipv4s"] = []byte(public)
		t.documents[network+"public-hostname"] = []byte(name)
		t.documents[network+"ipv4-associations/"+public] = []byte(eni.PrivateIP.String())
	}
	if data.KeyName != "" {
		t.documents["meta-data/public-keys/0/openssh-key"] = []byte(data.PublicKey)
	}
	documents := map[string]map[string]any{"dynamic/instance-identity/document": {
		"accountId": data.AccountID, "architecture": data.Architecture,
		"availabilityZone": data.AvailabilityZone, "billingProducts": nil,
		"devpayProductCodes": nil, "marketplaceProductCodes": nil,
		"imageId": data.AMI, "instanceId": eni.InstanceID, "instanceType": data.InstanceType,
		"kernelId": nil, "ramdiskId": nil, "pendingTime": timestamp(now),
		"privateIp": eni.PrivateIP.String(), "region": data.Region, "version": "2017-09-30",
	}}
	if role := data.Role; role != nil {
		lifetime := role.Lifetime
		if lifetime <= 0 {
			lifetime = defaultLifetime
		}
		documents["meta-data/iam/info"] = map[string]any{
			"Code": "Success", "LastUpdated": timestamp(now),
			"InstanceProfileArn": role.InstanceProfileARN, "InstanceProfileId": role.InstanceProfileID,
		}
		documents["meta-data/iam/security-credentials/"+role.RoleName] = map[string]any{
			"Code": "Success", "LastUpdated": timestamp(now), "Type": "AWS-HMAC",
			"AccessKeyId": role.AccessKeyID, "SecretAccessKey": role.SecretAccessKey, "Token": "",
			"Expiration": timestamp(now.Add(lifetime)),
		}
	}
	for path, value := range documents {
		text, err := json.MarshalIndent(value, "", "  ")
		if err != nil {
			return nil, fmt.Errorf("metadata %s: %w", path, err)
		}
		t.documents[path] = text
	}
	return t, nil
}

// get returns a document or, for a directory, the list of what is in it,
// directories with a trailing slash.
func (t *tree) get(path string) ([]byte, bool) {
	path = strings.TrimSuffix(path, "/")
	if content, found := t.documents[path]; found {
		return content, true
	}
	// A list of keys does not look like other directories: "0=name".
	if _, found := t.documents["meta-data/public-keys/0/openssh-key"]; found && path == "meta-data/public-keys" {
		return []byte("0=" + t.keyName), true
	}
	parent := path + "/"
	if path == "" {
		parent = ""
	}
	names := map[string]bool{}
	for document := range t.documents {
		rest, inside := strings.CutPrefix(document, parent)
		if !inside {
			continue
		}
		name, _, directory := strings.Cut(rest, "/")
		if directory {
			name += "/"
		}
		names[name] = true
	}
	if len(names) == 0 {
		return nil, false
	}
	return []byte(strings.Join(slices.Sorted(maps.Keys(names)), "\n")), true
}

func timestamp(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05Z") }

func prefix(p netip.Prefix) string {
	if !p.IsValid() {
		return ""
	}
	return p.Masked().String()
}
