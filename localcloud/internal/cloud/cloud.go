// Package cloud runs what stands in for AWS's data plane on this machine:
// instances, the gateway of each VPC, and the S3 server.
//
// It keeps no account of what exists in the sense of AWS's control plane: the
// aws plugin does that, and tells this package what to run.
package cloud

import (
	"context"
	"errors"
	"net/netip"
	"time"

	"immutable-infra/localcloud/internal/dns"
)

// ErrNotFound is returned for an instance or a VPC that is not there.
var ErrNotFound = errors.New("not found")

// Cloud is the seam between the aws plugin (control plane) and what really runs. Every method is
// idempotent, so that an update that was killed half-way can be repeated.
type Cloud interface {
	// Image checks that an AMI id is one that this machine can start, and
	// returns its architecture ("x86_64" or "arm64") and root device name.
	// The error wraps ErrNotFound and names the ids that exist.
	Image(ctx context.Context, ami string) (Image, error)

	// CreateVPC starts the VPC's gateway: router, DHCP and DNS server (at the
	// second address of the VPC's CIDR block), instance metadata service.
	CreateVPC(ctx context.Context, vpc VPC) error
	// DeleteVPC stops the gateway and removes everything that belonged to it.
	DeleteVPC(ctx context.Context, id string) error

	// ApplyGateway brings the VPC's gateway to the given state in one step:
	// address translation, security groups, DHCP leases, metadata documents.
	// An Elastic IP moves to another instance by the settings of the move.
	// Established connections of any other public address that is gone are cut.
	ApplyGateway(ctx context.Context, vpcID string, state GatewayState) error

	// ApplyRecords makes the given record sets those of the hosted zone, for the
	// DNS and on this machine itself. Names of OwnRecords are not among them.
	ApplyRecords(ctx context.Context, records []dns.Record) error

	// RunInstance starts an instance whose NetworkInterface is already part of the applied
	// GatewayState. It returns when the machine runs, not when cloud-init is done.
	RunInstance(ctx context.Context, spec InstanceSpec) error
	// ShutDownInstance shuts an instance down and returns when it is off. One that takes too long is switched off.
	ShutDownInstance(ctx context.Context, id string) error
	// TerminateInstance shuts an instance down and deletes its volumes.
	TerminateInstance(ctx context.Context, id string) error
	// InstanceState returns InstanceRunning, InstanceStopped, or an error that
	// wraps ErrNotFound. An instance that switched itself off is stopped.
	InstanceState(ctx context.Context, id string) (string, error)
}

// The states of an instance, in EC2's words.
const (
	InstanceRunning = "running"
	InstanceStopped = "stopped"
)

type Image struct {
	Architecture   string
	RootDeviceName string
}

type VPC struct {
	ID        string
	CIDRBlock netip.Prefix
}

// GatewayState is all that the gateway of one VPC must do.
type GatewayState struct {
	Interfaces []NetworkInterface
	// Move is how Elastic IPs move with this state. ApplyGateway sets it.
	Move Move
}

// NetworkInterface is the primary network interface of one instance, with what
// AWS knows about the instance behind it.
type NetworkInterface struct {
	InstanceID string
	PrivateIP  netip.Addr
	// PublicIP is the Elastic IP, or the auto-assigned public address while no Elastic IP is
	// associated. The zero value means none, and then no way in or out except to S3.
	PublicIP netip.Addr
	Elastic  bool // whether PublicIP is an Elastic IP
	Ingress  []Rule
	Egress   []Rule
	Metadata Metadata
}

// Rule is one security group rule. All fields are as in the EC2 API.
type Rule struct {
	Protocol string // "tcp", "udp", "icmp", "-1" for all
	FromPort int
	ToPort   int // inclusive
	CIDRs    []netip.Prefix
}

// Metadata is what the instance metadata service answers.
type Metadata struct {
	AMI              string
	InstanceType     string
	AvailabilityZone string
	Region           string
	AccountID        string
	VpcID            string
	SubnetID         string
	VpcCIDR          netip.Prefix
	SubnetCIDR       netip.Prefix
	SecurityGroups   []string // names
	UserData         []byte   // as given, gzip or plain; nil means none
	Architecture     string
	// HopLimit is the IP time to live of the service's answers. At 1, no
	// container on the instance gets an answer.
	HopLimit       int
	TokensRequired bool             // refuses every request without a session token (IMDSv2)
	Enabled        bool             // false answers 403 to everything
	Role           *RoleCredentials // nil without an instance profile
}

// RoleCredentials are what the metadata service hands out for the instance's role.
type RoleCredentials struct {
	RoleName           string
	InstanceProfileARN string
	InstanceProfileID  string
	AccessKeyID        string
	SecretAccessKey    string
	Lifetime           time.Duration
}

// InstanceSpec is what RunInstance needs beside the interface.
type InstanceSpec struct {
	ID           string
	VpcID        string
	AMI          string
	InstanceType string
	PrivateIP    netip.Addr
	Name         string // tag Name, used for the container's name as well; may be ""
}

// S3 says how the S3 server is reached from this machine. The root account may do everything.
type S3 struct {
	Endpoint        string // https://198.18.0.3
	Region          string
	CAFile          string // PEM bundle that its certificate validates against
	AccessKeyID     string
	SecretAccessKey string
}
