package store

// KeyPair is an imported key pair; its id is its name.
type KeyPair struct {
	ID            string            `json:"id"`
	KeyName       string            `json:"keyName"`
	KeyNamePrefix string            `json:"keyNamePrefix,omitempty"`
	PublicKey     string            `json:"publicKey"`
	Tags          map[string]string `json:"tags,omitempty"`

	Arn         string `json:"arn"`
	KeyPairID   string `json:"keyPairId"`
	KeyType     string `json:"keyType"`
	Fingerprint string `json:"fingerprint"`
}

// InstanceRecord is an instance with what AWS knows of it and does not show.
type InstanceRecord struct {
	Instance Instance `json:"instance"`
	// Pending is true until the instance runs. A pending instance that an
	// operation finds was left behind by a process that was killed.
	Pending  bool   `json:"pending,omitempty"`
	VpcID    string `json:"vpcId"`
	UserData []byte `json:"userData,omitempty"`
	// PublicKey is that of the key pair at launch, which may be gone since.
	PublicKey    string `json:"publicKey,omitempty"`
	Architecture string `json:"architecture"`
	// AutoPublicIP is the auto-assigned public address, empty while there is none.
	AutoPublicIP string `json:"autoPublicIp,omitempty"`
	// AutoAssign says that the instance asked for a public address at launch,
	// and so gets one again when it loses an Elastic IP.
	AutoAssign bool `json:"autoAssign"`
}

// Instance is an instance as AWS shows it. UserData is the SHA-1 of the user
// data once the instance is made, as in the Terraform provider's state.
type Instance struct {
	ID                                string               `json:"id"`
	Ami                               string               `json:"ami"`
	InstanceType                      string               `json:"instanceType"`
	SubnetID                          string               `json:"subnetId"`
	AvailabilityZone                  string               `json:"availabilityZone"`
	AssociatePublicIPAddress          *bool                `json:"associatePublicIpAddress,omitempty"`
	PrivateIP                         string               `json:"privateIp"`
	VpcSecurityGroupIDs               []string             `json:"vpcSecurityGroupIds"`
	IamInstanceProfile                string               `json:"iamInstanceProfile,omitempty"`
	KeyName                           string               `json:"keyName,omitempty"`
	UserData                          string               `json:"userData,omitempty"`
	UserDataBase64                    string               `json:"userDataBase64,omitempty"`
	UserDataReplaceOnChange           bool                 `json:"userDataReplaceOnChange"`
	CreditSpecification               *CreditSpecification `json:"creditSpecification,omitempty"`
	MetadataOptions                   *MetadataOptions     `json:"metadataOptions,omitempty"`
	RootBlockDevice                   *RootBlockDevice     `json:"rootBlockDevice,omitempty"`
	MaintenanceOptions                *MaintenanceOptions  `json:"maintenanceOptions,omitempty"`
	InstanceInitiatedShutdownBehavior string               `json:"instanceInitiatedShutdownBehavior,omitempty"`
	DisableAPIStop                    bool                 `json:"disableApiStop"`
	DisableAPITermination             bool                 `json:"disableApiTermination"`
	EbsOptimized                      bool                 `json:"ebsOptimized"`
	GetPasswordData                   bool                 `json:"getPasswordData"`
	Hibernation                       bool                 `json:"hibernation,omitempty"`
	Monitoring                        bool                 `json:"monitoring"`
	SourceDestCheck                   bool                 `json:"sourceDestCheck"`
	Tenancy                           string               `json:"tenancy,omitempty"`
	Tags                              map[string]string    `json:"tags,omitempty"`
	VolumeTags                        map[string]string    `json:"volumeTags,omitempty"`

	Arn                       string `json:"arn"`
	InstanceState             string `json:"instanceState"`
	PrimaryNetworkInterfaceID string `json:"primaryNetworkInterfaceId"`
	PrivateDNS                string `json:"privateDns"`
	PublicDNS                 string `json:"publicDns"`
	PublicIP                  string `json:"publicIp"`
}

// CreditSpecification is the CPU credit mode of a burstable instance.
type CreditSpecification struct {
	CPUCredits string `json:"cpuCredits,omitempty"`
}

// MaintenanceOptions says whether a failed instance is recovered.
type MaintenanceOptions struct {
	AutoRecovery string `json:"autoRecovery,omitempty"`
}

// MetadataOptions are the settings of the instance metadata service.
type MetadataOptions struct {
	HTTPEndpoint            string `json:"httpEndpoint,omitempty"`
	HTTPTokens              string `json:"httpTokens,omitempty"`
	HTTPPutResponseHopLimit int    `json:"httpPutResponseHopLimit,omitempty"`
	HTTPProtocolIpv6        string `json:"httpProtocolIpv6,omitempty"`
	InstanceMetadataTags    string `json:"instanceMetadataTags,omitempty"`
}

// RootBlockDevice is the root volume. VolumeSize is in GiB, Throughput in MiB/s.
type RootBlockDevice struct {
	DeleteOnTermination bool              `json:"deleteOnTermination"`
	Encrypted           bool              `json:"encrypted"`
	Iops                int               `json:"iops,omitempty"`
	Throughput          int               `json:"throughput,omitempty"`
	VolumeSize          int               `json:"volumeSize,omitempty"`
	VolumeType          string            `json:"volumeType,omitempty"`
	Tags                map[string]string `json:"tags,omitempty"`

	DeviceName string `json:"deviceName"`
	VolumeID   string `json:"volumeId"`
}

// Address is an Elastic IP, with its association while it has one.
type Address struct {
	ID     string            `json:"id"`
	Domain string            `json:"domain"`
	Tags   map[string]string `json:"tags,omitempty"`

	Arn          string `json:"arn"`
	AllocationID string `json:"allocationId"`
	PublicIP     string `json:"publicIp"`
	PublicDNS    string `json:"publicDns"`

	AssociationID    string `json:"associationId"`
	InstanceID       string `json:"instance"`
	NetworkInterface string `json:"networkInterface"`
	PrivateIP        string `json:"privateIp"`
	PrivateDNS       string `json:"privateDns"`
}

// EipAssociation is an association as a resource. It is kept in its Address.
type EipAssociation struct {
	ID                 string `json:"id"`
	AllocationID       string `json:"allocationId"`
	InstanceID         string `json:"instanceId"`
	AllowReassociation *bool  `json:"allowReassociation,omitempty"`

	NetworkInterfaceID string `json:"networkInterfaceId"`
	PrivateIPAddress   string `json:"privateIpAddress"`
	PublicIP           string `json:"publicIp"`
}
