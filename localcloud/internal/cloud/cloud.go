// Package cloud runs the local stand-in for AWS's data plane: instances, the gateway of each VPC, and the services
// such as S3 and DNS.
//
// It does not keep the control plane's records of which resources exist: the aws plugin does, and it decides what
// this package runs.
package cloud

import (
	"context"
	"errors"
	"net/netip"
	"time"

	"immutable-infra/localcloud/internal/dns"
)

// ErrNotFound is returned for an AMI, an instance or a VPC that does not exist.
var ErrNotFound = errors.New("not found")

// Cloud is the interface between the aws plugin (control plane) and this machine (data plane). Every method is
// idempotent, so that an update that was killed halfway can be repeated.
type Cloud interface {
	// Image returns an AMI's architecture ("x86_64" or "arm64") and root device name. The error for an unknown AMI
	// wraps ErrNotFound and names the AMI that exists.
	Image(ctx context.Context, ami string) (Image, error)

	// CreateVPC starts the VPC's gateway: router, DHCP and DNS server (at the second address of the VPC's CIDR
	// block), and instance metadata service.
	CreateVPC(ctx context.Context, vpc VPC) error
	// DeleteVPC stops the gateway and removes its data.
	DeleteVPC(ctx context.Context, id string) error

	// ApplyGateway switches the VPC's gateway to the given state in one step: address translation, security
	// groups, DHCP leases, metadata documents. An Elastic IP moves to another instance according to the move
	// settings. Established connections of any other public address that is released or reassigned are cut.
	ApplyGateway(ctx context.Context, vpcID string, state GatewayState) error

	// ApplyRecords replaces the record sets of the hosted zone, in the DNS and in this machine's hosts file. The
	// records must not include names of OwnRecords.
	ApplyRecords(ctx context.Context, records []dns.Record) error

	// RunInstance starts an instance whose NetworkInterface is already part of the applied GatewayState. It
	// returns when the instance is running, before cloud-init is done.
	RunInstance(ctx context.Context, spec InstanceSpec) error
	// ShutDownInstance shuts an instance down and waits until it is off. After a timeout, it forces the instance off.
	ShutDownInstance(ctx context.Context, id string) error
	// TerminateInstance shuts an instance down and deletes its volumes.
	TerminateInstance(ctx context.Context, id string) error
	// InstanceState returns InstanceRunning, InstanceStopped, or an error that wraps ErrNotFound. An instance that
	// powered itself off is stopped.
	InstanceState(ctx context.Context, id string) (string, error)
}

// The states of an instance, named as in the EC2 API.
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

// GatewayState is the complete desired state of one VPC's gateway.
type GatewayState struct {
	Interfaces []NetworkInterface
	// Move holds the settings for Elastic IPs that move with this state. ApplyGateway sets it.
	Move Move
}

// NetworkInterface is the primary network interface of one instance, with the instance's metadata.
type NetworkInterface struct {
	InstanceID string
	PrivateIP  netip.Addr
	// PublicIP is the Elastic IP, or the auto-assigned public address while no Elastic IP is associated. The zero value
	// means no public address: the instance can then reach only S3 outside the VPC, and is unreachable from outside.
	PublicIP netip.Addr
	Elastic  bool // whether PublicIP is an Elastic IP
	Ingress  []Rule
	Egress   []Rule
	Metadata Metadata
}

// Rule is one security group rule, with the fields of the EC2 API.
type Rule struct {
	Protocol string // "tcp", "udp", "icmp" or "-1" (all)
	FromPort int
	ToPort   int // inclusive
	CIDRs    []netip.Prefix
}

// Metadata is the data that the instance metadata service returns for one instance.
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
	UserData         []byte   // as supplied, gzip or plain; nil means none
	Architecture     string
	// HopLimit is the IP time to live of the responses. At 1, they do not reach containers on the instance.
	HopLimit       int
	TokensRequired bool             // reject requests without a session token (IMDSv2)
	Enabled        bool             // if false, every request gets a 403
	Role           *RoleCredentials // nil without an instance profile
}

// RoleCredentials are the credentials of the instance's role that the metadata service returns.
type RoleCredentials struct {
	RoleName           string
	InstanceProfileARN string
	InstanceProfileID  string
	AccessKeyID        string
	SecretAccessKey    string
	Lifetime           time.Duration
}

// InstanceSpec describes an instance to RunInstance, except for its network interface.
type InstanceSpec struct {
	ID           string
	VpcID        string
	AMI          string
	InstanceType string
	PrivateIP    netip.Addr
	Name         string // the Name tag, also part of the container's name; may be ""
}

// S3 is the S3 server's endpoint and root account, as used from this machine. The root account has all permissions.
type S3 struct {
	Endpoint        string // https://198.18.0.3
	Region          string
	CAFile          string // PEM bundle that its certificate validates against
	AccessKeyID     string
	SecretAccessKey string
}
