// Package schema knows the AWS resource types that localcloud serves: their
// properties under Pulumi's names, and what a change of each one means.
//
// schema.json holds the part of pulumi-aws 6.83.4 that localcloud stands in
// for. Names and nesting come from its Go SDK; required, computed, default,
// forceNew and conflictsWith from the Terraform provider that it bridges.
// Where localcloud can honour only some values of a property, "values" lists
// them; properties that exist on AWS and not here are listed as unsupported,
// so that the error differs from that of a misspelt name.
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
	// Table is where the resources are in the store, such as Vpcs, or Buckets.Policy for a part of
	// another resource. It is empty for those that are kept otherwise.
	Table string `json:"table"`
	// ARN is the service and the kind of resource in the type's ARNs, such as ec2:vpc.
	// It is empty for a part of another resource.
	ARN string `json:"arn"`
	// IDPrefix begins the ids that EC2 generates. Without one, the id is the name.
	IDPrefix string `json:"idPrefix"`
	// NameProperty is the property with the name, where Autoname has none.
	NameProperty string `json:"nameProperty"`
	IDIsARN      bool   `json:"idIsArn"`
	// UniqueIDs are the properties with ids that IAM generates, and what begins them.
	UniqueIDs map[string]string `json:"uniqueIds"`
	// Missing is the error code for a reference to what does not exist.
	Missing string `json:"missing"`
	// Exists is the error code for a second resource with the same id.
	Exists string `json:"exists"`
	// Unique are the properties that no two resources have alike.
	Unique *Unique `json:"unique"`
	// Network is true where a change concerns the gateway of the VPC.
	Network bool `json:"network"`
	// Calls are the requests to AWS's APIs by which the real provider runs one operation on
	// a resource: create, read, update, delete. Package awsplugin says how they are written.
	Calls    map[string][]string  `json:"calls"`
	Autoname *Autoname            `json:"autoname"`
	Inputs   map[string]*Property `json:"inputs"`
	// Unsupported names the properties that AWS has and localcloud has not.
	Unsupported []string `json:"unsupported"`
	// Hints says what to write instead of an unsupported property.
	Hints map[string]string `json:"hints"`
	// Outputs names the properties that only the provider sets.
	Outputs []string `json:"outputs"`
}

// Autoname says which property gets a generated name when the program gives none.
type Autoname struct {
	Property       string `json:"property"`
	PrefixProperty string `json:"prefixProperty"`
	MaxLength      int    `json:"maxLength"`
	Lowercase      bool   `json:"lowercase"`
}

// Property is one input property, or the element type of a collection.
type Property struct {
	// Type is string, integer, boolean, map (of strings), object, array or set.
	// A set is an array whose order means nothing.
	Type        string               `json:"type"`
	Items       *Property            `json:"items"`
	Properties  map[string]*Property `json:"properties"`
	Unsupported []string             `json:"unsupported"`

	// RefersTo is the type of the resources that the property names. They cannot be
	// deleted while they are named, unless the reference is weak.
	RefersTo string `json:"refersTo"`
	Weak     bool   `json:"weak"`

	Required bool `json:"required"`
	// Computed properties keep the value that AWS chose while the program gives none.
	Computed bool `json:"computed"`
	ForceNew bool `json:"forceNew"`
	// ForceNewIf names the boolean property that makes a change replace the resource.
	ForceNewIf string `json:"forceNewIf"`
	// Architecture marks the name of an instance type: a change to a type of another
	// architecture replaces the resource.
	Architecture bool `json:"architecture"`
	Default      any  `json:"default"`
	// Shown is what AWS shows where no value is given, in a record that is stored.
	Shown         any      `json:"shown"`
	Values        []any    `json:"values"`
	ConflictsWith []string `json:"conflictsWith"`
	// MaxLength is the largest number of characters, or 0 where the provider checks none.
	MaxLength int `json:"maxLength"`
	// Compare is "json" for a JSON document, "domain" for a domain name, "issuer" for a URL
	// whose https:// may be left out, and empty for plain equality.
	Compare string `json:"compare"`
	// Hashed properties appear in the state as a hash of the input.
	Hashed bool  `json:"hashed"`
	Rule   *Rule `json:"rule"`
}

// Unique is a constraint, and AWS's error.
type Unique struct {
	By      []string `json:"by"`
	Code    string   `json:"code"`
	Message string   `json:"message"`
}

// Rule is what AWS demands of a value when it gets it, and its error.
type Rule struct {
	// Min and Max bound a number, the length of a text, that of a list or that of a block's prefix.
	// Max is 0 for no bound.
	Min     int    `json:"min"`
	Max     int    `json:"max"`
	Pattern string `json:"pattern"` // of a text
	CIDR    bool   `json:"cidr"`    // it is an IPv4 block
	Code    string `json:"code"`
	// Message says what to write.
	Message string `json:"message"`
}

// Load returns all types by their tokens, such as aws:ec2/vpc:Vpc.
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
