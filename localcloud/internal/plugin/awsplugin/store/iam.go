package store

// RoleRecord is a role with its inline policies and the account that stands
// for it at the S3 server.
type RoleRecord struct {
	Role     Role                   `json:"role"`
	Policies map[string]*RolePolicy `json:"policies"`
	// Account is nil until an instance uses the role, or somebody asks for its credentials.
	Account *Account `json:"account,omitempty"`
}

// Account is a user of the S3 server.
type Account struct {
	AccessKeyID     string `json:"accessKeyId"`
	SecretAccessKey string `json:"secretAccessKey"`
}

// Role is a role; its id is its name.
type Role struct {
	ID                  string `json:"id"`
	Name                string `json:"name"`
	NamePrefix          string `json:"namePrefix,omitempty"`
	Path                string `json:"path"`
	Description         string `json:"description,omitempty"`
	AssumeRolePolicy    string `json:"assumeRolePolicy"`
	ForceDetachPolicies bool   `json:"forceDetachPolicies"`
	MaxSessionDuration  int    `json:"maxSessionDuration"`
	// PermissionsBoundary is the ARN of a managed policy, or empty.
	PermissionsBoundary string            `json:"permissionsBoundary,omitempty"`
	Tags                map[string]string `json:"tags,omitempty"`

	Arn        string `json:"arn"`
	CreateDate string `json:"createDate"`
	UniqueID   string `json:"uniqueId"`
}

// RolePolicy is an inline policy; its id is the role's name, a colon, and its own.
type RolePolicy struct {
	ID         string `json:"id"`
	Name       string `json:"name"`
	NamePrefix string `json:"namePrefix,omitempty"`
	Role       string `json:"role"`
	Policy     string `json:"policy"`
}

// Policy is a managed policy; its id is its ARN. It bounds roles here, and is attached to none.
type Policy struct {
	ID          string            `json:"id"`
	Name        string            `json:"name"`
	NamePrefix  string            `json:"namePrefix,omitempty"`
	Path        string            `json:"path"`
	Description string            `json:"description,omitempty"`
	Policy      string            `json:"policy"`
	Tags        map[string]string `json:"tags,omitempty"`

	Arn      string `json:"arn"`
	PolicyID string `json:"policyId"`
}

// InstanceProfile is an instance profile; its id is its name.
type InstanceProfile struct {
	ID         string            `json:"id"`
	Name       string            `json:"name"`
	NamePrefix string            `json:"namePrefix,omitempty"`
	Path       string            `json:"path"`
	Role       string            `json:"role,omitempty"`
	Tags       map[string]string `json:"tags,omitempty"`

	Arn        string `json:"arn"`
	CreateDate string `json:"createDate"`
	UniqueID   string `json:"uniqueId"`
}

// OpenIDConnectProvider is an OIDC provider; its id is its ARN.
type OpenIDConnectProvider struct {
	ID              string            `json:"id"`
	URL             string            `json:"url"` // without https://, as IAM has it
	ClientIDLists   []string          `json:"clientIdLists"`
	ThumbprintLists []string          `json:"thumbprintLists"`
	Tags            map[string]string `json:"tags,omitempty"`

	Arn string `json:"arn"`
}
