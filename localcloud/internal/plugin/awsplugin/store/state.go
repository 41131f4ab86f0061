package store

// State is all that exists. Each collection is keyed by the resource's id, or
// by its name where AWS identifies it by name.
type State struct {
	Vpcs                   map[string]*Vpc                   `json:"vpcs"`
	Subnets                map[string]*Subnet                `json:"subnets"`
	InternetGateways       map[string]*InternetGateway       `json:"internetGateways"`
	RouteTables            map[string]*RouteTable            `json:"routeTables"`
	RouteTableAssociations map[string]*RouteTableAssociation `json:"routeTableAssociations"`
	VpcEndpoints           map[string]*VpcEndpoint           `json:"vpcEndpoints"`
	SecurityGroups         map[string]*SecurityGroup         `json:"securityGroups"`
	KeyPairs               map[string]*KeyPair               `json:"keyPairs"`
	Instances              map[string]*InstanceRecord        `json:"instances"`
	Addresses              map[string]*Address               `json:"addresses"`
	Roles                  map[string]*RoleRecord            `json:"roles"`
	Policies               map[string]*Policy                `json:"policies"`
	InstanceProfiles       map[string]*InstanceProfile       `json:"instanceProfiles"`
	OpenIDConnectProviders map[string]*OpenIDConnectProvider `json:"openIdConnectProviders"`
	Buckets                map[string]*BucketRecord          `json:"buckets"`
	Records                map[string]*RecordSet             `json:"records"`

	// LastPublicAddress makes the next public address a new one, so that a
	// client that still talks to a released address meets nobody.
	LastPublicAddress int `json:"lastPublicAddress"`
}

func newState() *State {
	return &State{
		Vpcs:                   map[string]*Vpc{},
		Subnets:                map[string]*Subnet{},
		InternetGateways:       map[string]*InternetGateway{},
		RouteTables:            map[string]*RouteTable{},
		RouteTableAssociations: map[string]*RouteTableAssociation{},
		VpcEndpoints:           map[string]*VpcEndpoint{},
		SecurityGroups:         map[string]*SecurityGroup{},
		KeyPairs:               map[string]*KeyPair{},
		Instances:              map[string]*InstanceRecord{},
		Addresses:              map[string]*Address{},
		Roles:                  map[string]*RoleRecord{},
		Policies:               map[string]*Policy{},
		InstanceProfiles:       map[string]*InstanceProfile{},
		OpenIDConnectProviders: map[string]*OpenIDConnectProvider{},
		Buckets:                map[string]*BucketRecord{},
		Records:                map[string]*RecordSet{},
	}
}
