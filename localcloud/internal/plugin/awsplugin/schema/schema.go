// Package schema defines the AWS resource types that localcloud supports: their properties, under Pulumi's names,
// and the effect of changing each of them.
//
// schema.json contains the supported part of pulumi-aws 6.83.4. Names and nesting come from its Go SDK; required,
// computed, default, forceNew and conflictsWith come from the Terraform provider that it bridges. If localcloud
// supports only some values of a property, "values" lists them. Properties that exist on AWS but not here are
// listed as unsupported, so that their error differs from that of a misspelled name.
package schema

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"fmt"
)

//go:embed schema.json
var source []byte

// Type is one resource type.
type Type struct {
	Token string `json:"-"`
	// Table is the resources' table in the store, such as Vpcs, or Buckets.Policy for a part of another resource. It
	// is empty for types whose resources are stored elsewhere.
	Table string `json:"table"`
	// ARN is the service and resource type in the ARNs, such as ec2:vpc. It is empty for a part of another resource.
	ARN string `json:"arn"`
	// IDPrefix is the prefix of the ids that EC2 generates. If it is empty, the id is the name.
	IDPrefix string `json:"idPrefix"`
	// NameProperty is the property with the name, for types without Autoname.
	NameProperty string `json:"nameProperty"`
	IDIsARN      bool   `json:"idIsArn"`
	// UniqueIDs maps the properties whose ids IAM generates to the prefixes of the ids.
	UniqueIDs map[string]string `json:"uniqueIds"`
	// Missing is the error code for a reference to a resource that does not exist.
	Missing string `json:"missing"`
	// Exists is the error code for a second resource with the same id.
	Exists string `json:"exists"`
	// Unique is a uniqueness constraint, or nil.
	Unique *Unique `json:"unique"`
	// Network is true if a change affects the VPC's gateway.
	Network bool `json:"network"`
	// Calls lists the AWS API requests that the real provider sends for each operation: create, read, update, delete.
	// Package awsplugin documents their syntax.
	Calls    map[string][]string  `json:"calls"`
	Autoname *Autoname            `json:"autoname"`
	Inputs   map[string]*Property `json:"inputs"`
	// Unsupported lists the properties that AWS supports but localcloud does not.
	Unsupported []string `json:"unsupported"`
	// Hints maps unsupported properties to advice on what to use instead.
	Hints map[string]string `json:"hints"`
	// Outputs lists the properties that only the provider sets.
	Outputs []string `json:"outputs"`
}

// Autoname defines which property gets a generated name if the program sets none.
type Autoname struct {
	Property       string `json:"property"`
	PrefixProperty string `json:"prefixProperty"`
	MaxLength      int    `json:"maxLength"`
	Lowercase      bool   `json:"lowercase"`
}

// Property is one input property, or the element type of a collection.
type Property struct {
	// Type is string, integer, boolean, map (of strings), object, array or set. A set is an array without an order.
	Type        string               `json:"type"`
	Items       *Property            `json:"items"`
	Properties  map[string]*Property `json:"properties"`
	Unsupported []string             `json:"unsupported"`

	// RefersTo is the type of the resources that the property refers to. They cannot be deleted as long as a resource
	// refers to them, unless the reference is weak.
	RefersTo string `json:"refersTo"`
	Weak     bool   `json:"weak"`

	Required bool `json:"required"`
	// Computed properties keep the value that AWS chose unless the program sets one.
	Computed bool `json:"computed"`
	ForceNew bool `json:"forceNew"`
	// ForceNewIf names a boolean property. If it is true, a change replaces the resource.
	ForceNewIf string `json:"forceNewIf"`
	// Architecture marks a property with an instance type. Changing it to a type of another architecture replaces the
	// resource.
	Architecture bool `json:"architecture"`
	Default      any  `json:"default"`
	// Shown is the value that AWS returns if none is set. It is stored in the record.
	Shown         any      `json:"shown"`
	Values        []any    `json:"values"`
	ConflictsWith []string `json:"conflictsWith"`
	// MaxLength is the maximum number of characters, or 0 if the provider does not check the length.
	MaxLength int `json:"maxLength"`
	// Compare is "json" for a JSON document, "domain" for a domain name, "issuer" for a URL with an optional
	// https://, and empty for plain equality.
	Compare string `json:"compare"`
	// Hashed properties are stored in the state as a hash of the input.
	Hashed bool  `json:"hashed"`
	Rule   *Rule `json:"rule"`
}

// Unique is a uniqueness constraint on the combination of some properties, with AWS's error.
type Unique struct {
	By      []string `json:"by"`
	Code    string   `json:"code"`
	Message string   `json:"message"`
}

// Rule is a constraint on a value that AWS checks when it receives the value, with AWS's error.
type Rule struct {
	// Min and Max limit a number, the length of a string or list, or a CIDR block's prefix length. Max is 0 for no
	// limit.
	Min     int    `json:"min"`
	Max     int    `json:"max"`
	Pattern string `json:"pattern"` // of a string
	CIDR    bool   `json:"cidr"`    // the value is an IPv4 block
	Code    string `json:"code"`
	// Message describes the valid values.
	Message string `json:"message"`
}

// Load returns all types by token, such as aws:ec2/vpc:Vpc.
func Load() (map[string]*Type, error) {
	decoder := json.NewDecoder(bytes.NewReader(source))
	decoder.DisallowUnknownFields()
	var types map[string]*Type
	if err := decoder.Decode(&types); err != nil {
		return nil, fmt.Errorf("decode schema.json: %w", err)
	}
	for token, t := range types {
		t.Token = token
	}
	return types, nil
}
