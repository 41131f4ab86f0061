package store

// Vpc is a VPC. Here and below, the JSON names of the fields that AWS shows
// are Pulumi's names of the properties.
type Vpc struct {
	ID                               string            `json:"id"`
	CidrBlock                        string            `json:"cidrBlock"`
	EnableDNSHostnames               bool              `json:"enableDnsHostnames"`
	EnableDNSSupport                 bool              `json:"enableDnsSupport"`
	EnableNetworkAddressUsageMetrics bool              `json:"enableNetworkAddressUsageMetrics"`
	AssignGeneratedIpv6CidrBlock     bool              `json:"assignGeneratedIpv6CidrBlock"`
	InstanceTenancy                  string            `json:"instanceTenancy"`
	Tags                             map[string]string `json:"tags,omitempty"`

	Arn                    string `json:"arn"`
	OwnerID                string `json:"ownerId"`
	MainRouteTableID       string `json:"mainRouteTableId"`
	DefaultRouteTableID    string `json:"defaultRouteTableId"`
	DefaultSecurityGroupID string `json:"defaultSecurityGroupId"`
	DefaultNetworkACLID    string `json:"defaultNetworkAclId"`
	DHCPOptionsID          string `json:"dhcpOptionsId"`
}

// Subnet is a subnet.
type Subnet struct {
	ID                                      string            `json:"id"`
	VpcID                                   string            `json:"vpcId"`
	CidrBlock                               string            `json:"cidrBlock"`
	AvailabilityZone                        string            `json:"availabilityZone"`
	MapPublicIPOnLaunch                     bool              `json:"mapPublicIpOnLaunch"`
	AssignIpv6AddressOnCreation             bool              `json:"assignIpv6AddressOnCreation"`
	EnableDNS64                             bool              `json:"enableDns64"`
	EnableResourceNameDNSARecordOnLaunch    bool              `json:"enableResourceNameDnsARecordOnLaunch"`
	EnableResourceNameDNSAaaaRecordOnLaunch bool              `json:"enableResourceNameDnsAaaaRecordOnLaunch"`
	Ipv6Native                              bool              `json:"ipv6Native"`
	MapCustomerOwnedIPOnLaunch              bool              `json:"mapCustomerOwnedIpOnLaunch"`
	PrivateDNSHostnameTypeOnLaunch          string            `json:"privateDnsHostnameTypeOnLaunch"`
	Tags                                    map[string]string `json:"tags,omitempty"`

	Arn                string `json:"arn"`
	OwnerID            string `json:"ownerId"`
	AvailabilityZoneID string `json:"availabilityZoneId"`
}

// InternetGateway is an internet gateway. VpcID is empty while it is detached.
type InternetGateway struct {
	ID    string            `json:"id"`
	VpcID string            `json:"vpcId,omitempty"`
	Tags  map[string]string `json:"tags,omitempty"`

	Arn     string `json:"arn"`
	OwnerID string `json:"ownerId"`
}

// RouteTable is a route table. The local route of the VPC is not among Routes.
type RouteTable struct {
	ID     string            `json:"id"`
	VpcID  string            `json:"vpcId"`
	Routes []RouteTableRoute `json:"routes"`
	Tags   map[string]string `json:"tags,omitempty"`

	Arn     string `json:"arn"`
	OwnerID string `json:"ownerId"`
}

// RouteTableRoute is a route to an internet gateway.
type RouteTableRoute struct {
	CidrBlock string `json:"cidrBlock"`
	GatewayID string `json:"gatewayId"`
}

// Route is one route as a resource of its own. Routes are kept in their RouteTable.
type Route struct {
	ID                   string `json:"id"`
	RouteTableID         string `json:"routeTableId"`
	DestinationCidrBlock string `json:"destinationCidrBlock"`
	GatewayID            string `json:"gatewayId"`

	Origin string `json:"origin"`
	State  string `json:"state"`
}

// RouteTableAssociation makes a route table that of a subnet.
type RouteTableAssociation struct {
	ID           string `json:"id"`
	RouteTableID string `json:"routeTableId"`
	SubnetID     string `json:"subnetId"`
}

// VpcEndpoint is a gateway endpoint for S3.
type VpcEndpoint struct {
	ID                string            `json:"id"`
	VpcID             string            `json:"vpcId"`
	ServiceName       string            `json:"serviceName"`
	VpcEndpointType   string            `json:"vpcEndpointType"`
	RouteTableIDs     []string          `json:"routeTableIds"`
	PrivateDNSEnabled bool              `json:"privateDnsEnabled"`
	Tags              map[string]string `json:"tags,omitempty"`

	Arn              string   `json:"arn"`
	OwnerID          string   `json:"ownerId"`
	PrefixListID     string   `json:"prefixListId"`
	CidrBlocks       []string `json:"cidrBlocks"`
	RequesterManaged bool     `json:"requesterManaged"`
	State            string   `json:"state"`
}

// SecurityGroup is a security group.
type SecurityGroup struct {
	ID                  string              `json:"id"`
	VpcID               string              `json:"vpcId"`
	Name                string              `json:"name"`
	NamePrefix          string              `json:"namePrefix,omitempty"`
	Description         string              `json:"description"`
	Ingress             []SecurityGroupRule `json:"ingress"`
	Egress              []SecurityGroupRule `json:"egress"`
	RevokeRulesOnDelete bool                `json:"revokeRulesOnDelete"`
	Tags                map[string]string   `json:"tags,omitempty"`

	Arn     string `json:"arn"`
	OwnerID string `json:"ownerId"`
}

// GroupRule is a single rule as a resource of its own. It is stored in its group.
type GroupRule struct {
	ID              string   `json:"id"`
	SecurityGroupID string   `json:"securityGroupId"`
	Type            string   `json:"type"`
	Protocol        string   `json:"protocol"`
	FromPort        int      `json:"fromPort"`
	ToPort          int      `json:"toPort"`
	CidrBlocks      []string `json:"cidrBlocks"`
	Description     string   `json:"description,omitempty"`
}

// SecurityGroupRule is one block of rules: a range of ports and all its peers.
type SecurityGroupRule struct {
	Protocol       string   `json:"protocol"`
	FromPort       int      `json:"fromPort"`
	ToPort         int      `json:"toPort"`
	CidrBlocks     []string `json:"cidrBlocks,omitempty"`
	Ipv6CidrBlocks []string `json:"ipv6CidrBlocks,omitempty"`
	PrefixListIDs  []string `json:"prefixListIds,omitempty"`
	SecurityGroups []string `json:"securityGroups,omitempty"`
	Self           bool     `json:"self,omitempty"`
	Description    string   `json:"description,omitempty"`
}
