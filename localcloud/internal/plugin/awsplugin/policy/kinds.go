package policy

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

const s3Prefix = "arn:aws:s3:::"

// TrustPolicy reads a role's assume role policy.
func TrustPolicy(text string) (Document, error) {
	document, err := parse(text)
	if err != nil {
		return Document{}, err
	}
	for i, s := range document.Statement {
		switch {
		case s.Principal == nil:
			return Document{}, fmt.Errorf("%s has no Principal", s.name(i))
		case len(s.Action) == 0:
			return Document{}, fmt.Errorf("%s has no Action", s.name(i))
		case len(s.Resource) > 0 || len(s.NotResource) > 0:
			return Document{}, fmt.Errorf("%s has a Resource, which an assume role policy cannot have", s.name(i))
		}
	}
	return document, nil
}

// TrustsEC2 says whether EC2 may assume the role for an instance.
func (d Document) TrustsEC2() bool {
	for _, s := range d.Statement {
		ec2 := s.Principal != nil && slices.Contains(s.Principal.Kinds["Service"], "ec2.amazonaws.com")
		if s.Effect == "Allow" && ec2 && len(expand(s.Action, []string{"sts:AssumeRole"})) > 0 && len(s.Condition) == 0 {
			return true
		}
	}
	return false
}

// RolePolicy reads an identity policy. It must grant or deny actions of S3
// only, since nothing else in the local cloud asks for permission.
func RolePolicy(text string) (Document, error) {
	document, err := parse(text)
	if err != nil {
		return Document{}, err
	}
	for i, s := range document.Statement {
		if s.Principal != nil || s.NotPrincipal != nil {
			return Document{}, fmt.Errorf("%s specifies a principal, which a role's policy cannot", s.name(i))
		}
		if err := s.check(i); err != nil {
			return Document{}, err
		}
		if len(s.Resource) == 0 {
			return Document{}, fmt.Errorf("%s has no Resource", s.name(i))
		}
		for _, action := range s.Action {
			if len(expand([]string{action}, objectActions())) == 0 && len(expand([]string{action}, bucketActions())) == 0 {
				return Document{}, fmt.Errorf("%s has Action %q: localcloud enforces only S3 actions on buckets and objects, and cannot grant this one",
					s.name(i), action)
			}
		}
		for _, resource := range s.Resource {
			if resource != "*" && !strings.HasPrefix(resource, s3Prefix) {
				return Document{}, fmt.Errorf("%s has Resource %q: localcloud enforces only %sBUCKET and %sBUCKET/KEY",
					s.name(i), resource, s3Prefix, s3Prefix)
			}
		}
	}
	return document, nil
}

// BucketPolicy reads the policy that a program gives a bucket.
func BucketPolicy(bucket, text string) (Document, error) {
	document, err := parse(text)
	if err != nil {
		return Document{}, err
	}
	for i, s := range document.Statement {
		if s.Principal == nil {
			return Document{}, fmt.Errorf("%s has no Principal", s.name(i))
		}
		if err := s.check(i); err != nil {
			return Document{}, err
		}
		for kind := range s.Principal.Kinds {
			if kind != "AWS" {
				return Document{}, fmt.Errorf("%s has a principal of kind %s: localcloud knows only AWS principals", s.name(i), kind)
			}
		}
		if len(s.Resource) == 0 {
			return Document{}, fmt.Errorf("%s has no Resource", s.name(i))
		}
		for _, resource := range s.Resource {
			name, _, _ := strings.Cut(strings.TrimPrefix(resource, s3Prefix), "/")
			if !strings.HasPrefix(resource, s3Prefix) || name != bucket {
				return Document{}, fmt.Errorf("policy has an invalid resource: %s has %q, which is not in bucket %q", s.name(i), resource, bucket)
			}
		}
	}
	return document, nil
}

// IsPublic says whether the policy grants anything to everybody, as a public
// access block understands it.
func (d Document) IsPublic() bool {
	for _, s := range d.Statement {
		if s.Effect == "Allow" && s.Principal != nil && s.Principal.isEverybody() {
			return true
		}
	}
	return false
}

func (p Principal) isEverybody() bool {
	return p.Everybody || slices.Contains(p.Kinds["AWS"], "*")
}

// check refuses what cannot be enforced in any kind of S3 policy.
func (s Statement) check(index int) error {
	switch {
	case s.NotPrincipal != nil:
		return fmt.Errorf("%s uses NotPrincipal, which localcloud cannot enforce", s.name(index))
	case len(s.NotAction) > 0:
		return fmt.Errorf("%s uses NotAction, which localcloud cannot enforce", s.name(index))
	case len(s.NotResource) > 0:
		return fmt.Errorf("%s uses NotResource, which localcloud cannot enforce", s.name(index))
	case len(s.Action) == 0:
		return fmt.Errorf("%s has no Action", s.name(index))
	}
	for operator, keys := range s.Condition {
		for key := range keys {
			if !slices.Contains(conditionKeys(), strings.ToLower(key)) {
				return fmt.Errorf("%s has a Condition %s on %q, which localcloud cannot enforce; it knows %s",
					s.name(index), operator, key, strings.Join(conditionKeys(), ", "))
			}
		}
	}
	return nil
}

// conditionKeys are the keys that the S3 server knows the value of in every
// request. aws:SourceIp is not among them: behind the VPC endpoint it means
// something else on AWS.
func conditionKeys() []string {
	return []string{"aws:securetransport", "s3:prefix", "s3:delimiter", "s3:max-keys"}
}

// ErrInvalidPrincipal is what S3 answers to a policy for somebody who does not exist.
var ErrInvalidPrincipal = errors.New("invalid principal in policy")
