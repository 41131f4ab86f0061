package policy

import (
	"cmp"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

const (
	s3Prefix = "arn:aws:s3:::"
	// gitHubIssuer is the issuer of the tokens of GitHub's workflows.
	gitHubIssuer = "token.actions.githubusercontent.com"
)

// TrustPolicy reads a role's assume role policy.
func TrustPolicy(text string) (Document, error) {
	return read(text, func(s Statement) error {
		return cmp.Or(
			problem(s.Principal == nil, "has no Principal"),
			problem(len(s.Action) == 0, "has no Action"),
			problem(len(s.Resource)+len(s.NotResource) > 0, "has a Resource, which an assume role policy cannot have"),
			s.checkFederated(),
		)
	})
}

func problem(found bool, text string) error {
	if found {
		return errors.New(text)
	}
	return nil
}

// TrustsEC2 says whether EC2 may assume the role for an instance.
func (d Document) TrustsEC2() bool {
	return slices.ContainsFunc(d.Statement, func(s Statement) bool {
		ec2 := slices.Contains(s.Principal["Service"], "ec2.amazonaws.com")
		return s.Effect == "Allow" && ec2 && s.coversAction("sts:AssumeRole") && len(s.Condition) == 0
	})
}

// checkFederated refuses what IAM refuses, so that no stranger's workflows get the role by
// oversight: GitHub's tokens have one issuer for all repositories there are.
func (s Statement) checkFederated() error {
	for _, provider := range s.Principal["Federated"] {
		_, issuer, ok := strings.Cut(provider, ":oidc-provider/")
		switch {
		case !s.coversAction("sts:AssumeRoleWithWebIdentity"):
			return fmt.Errorf("trusts %q, and does not allow sts:AssumeRoleWithWebIdentity", provider)
		case !ok || !strings.HasPrefix(provider, "arn:aws:iam::"):
			return fmt.Errorf(
				"trusts %q: localcloud knows only OIDC providers, arn:aws:iam::ACCOUNT:oidc-provider/HOST", provider)
		case s.Effect == "Allow" && issuer == gitHubIssuer && !s.restricts(issuer+":sub"):
			return fmt.Errorf("trusts every repository at GitHub: add a Condition StringEquals or StringLike on %q, "+
				"such as \"repo:OWNER/REPOSITORY:*\"", issuer+":sub")
		}
	}
	return nil
}

// restricts says whether a statement holds for some values of a key only.
func (s Statement) restricts(key string) bool {
	for _, operator := range []string{"StringEquals", "StringLike"} {
		for name, values := range s.Condition[operator] {
			anything := func(pattern string) bool { return strings.Trim(pattern, "*?") == "" }
			if strings.EqualFold(name, key) && len(values) > 0 && !slices.ContainsFunc(values, anything) {
				return true
			}
		}
	}
	return false
}

// RolePolicy reads an identity policy.
func RolePolicy(text string) (Document, error) {
	return read(text, func(s Statement) error {
		return cmp.Or(
			problem(s.Principal != nil || s.NotPrincipal != nil, "specifies a principal, which a role's policy cannot"),
			problem(len(s.Action) > 0 && len(s.NotAction) > 0, "has both Action and NotAction"),
			problem(len(s.Action)+len(s.NotAction) == 0, "has no Action"),
			problem(len(s.Resource) > 0 && len(s.NotResource) > 0, "has both Resource and NotResource"),
			problem(len(s.Resource)+len(s.NotResource) == 0, "has no Resource"),
			s.checkActions(), s.checkResources(), s.checkCondition(isRequestKey),
		)
	})
}

// checkActions refuses what is no action. Of S3 every action is known, since the
// S3 server needs the name of each one.
func (s Statement) checkActions() error {
	form := regexp.MustCompile(`^(\*|[a-z0-9-]+:[A-Za-z0-9*?]+)$`)
	known := s3Actions("object", "bucket", "other")
	for _, pattern := range slices.Concat(s.Action, s.NotAction) {
		if !form.MatchString(pattern) {
			return fmt.Errorf("has Action %q: write SERVICE:ACTION, such as ec2:DescribeInstances", pattern)
		}
		one := Statement{Action: Strings{pattern}}
		if strings.HasPrefix(pattern, "s3:") && len(one.covered(known)) == 0 {
			return fmt.Errorf("has Action %q, which S3 does not have, or localcloud cannot enforce", pattern)
		}
	}
	return nil
}

func (s Statement) checkResources() error {
	if len(s.NotResource) > 0 && len(s.covered(s3Actions("object", "bucket"))) > 0 {
		return errors.New("uses NotResource for actions of S3, which localcloud cannot enforce")
	}
	form := regexp.MustCompile(`^arn:aws:[a-z0-9-]+:[^:]*:[^:]*:.+$`)
	for _, resource := range slices.Concat(s.Resource, s.NotResource) {
		switch {
		case resource == "*":
		case strings.Contains(resource, "${"):
			return fmt.Errorf("has Resource %q with a policy variable, which localcloud cannot enforce", resource)
		case strings.HasPrefix(resource, "arn:aws:s3:") && !strings.HasPrefix(resource, s3Prefix):
			return fmt.Errorf(
				"has Resource %q: of S3, localcloud enforces only %sBUCKET and %sBUCKET/KEY", resource, s3Prefix, s3Prefix)
		case !form.MatchString(resource):
			return fmt.Errorf(
				"has Resource %q: write an ARN, arn:aws:SERVICE:REGION:ACCOUNT:RESOURCE, with the service in full, or *", resource)
		}
	}
	return nil
}

// BucketPolicy reads the policy that a program gives a bucket. It speaks of everybody: what a role may
// do, the policies of the role say.
func BucketPolicy(bucket, text string) (Document, error) {
	return read(text, func(s Statement) error {
		err := cmp.Or(
			problem(s.Principal == nil, "has no Principal"),
			problem(s.NotPrincipal != nil, "uses NotPrincipal, which localcloud cannot enforce"),
			problem(len(s.NotAction) > 0, "uses NotAction, which localcloud cannot enforce"),
			problem(len(s.NotResource) > 0, "uses NotResource, which localcloud cannot enforce"),
			problem(len(s.Action) == 0, "has no Action"),
			problem(len(s.Resource) == 0, "has no Resource"),
		)
		if err != nil {
			return err
		}
		for kind, names := range s.Principal {
			if kind != "AWS" || !slices.Equal(names, Strings{"*"}) {
				return fmt.Errorf("has a principal of kind %s, %q: localcloud knows only \"*\"; write what a role may do into its "+
					"own policy", kind, names)
			}
		}
		for _, resource := range s.Resource {
			name, _, _ := strings.Cut(strings.TrimPrefix(resource, s3Prefix), "/")
			if !strings.HasPrefix(resource, s3Prefix) || name != bucket {
				return fmt.Errorf("has an invalid resource: %q is not in bucket %q", resource, bucket)
			}
		}
		return s.checkCondition(func(key string) bool { return slices.Contains(serverKeys(), key) })
	})
}

// IsPublic says whether a bucket's policy grants anything, which is then to everybody.
func (d Document) IsPublic() bool {
	return slices.ContainsFunc(d.Statement, func(s Statement) bool {
		return s.Effect == "Allow"
	})
}

// checkCondition refuses a condition that cannot be decided by. known gets keys in lower case.
func (s Statement) checkCondition(known func(key string) bool) error {
	for operator, keys := range s.Condition {
		if !slices.Contains(operators(), operator) {
			return fmt.Errorf(
				"has a Condition %s, which localcloud cannot enforce; it knows %s", operator, strings.Join(operators(), ", "))
		}
		for key, values := range keys {
			if !known(strings.ToLower(key)) {
				return fmt.Errorf(
					"has a Condition %s on %q, which localcloud cannot enforce; it knows %s, and in policies of roles %s",
					operator, key, strings.Join(serverKeys(), ", "), strings.Join(requestKeys(), ", "))
			}
			if i := slices.IndexFunc(values, func(value string) bool { return strings.Contains(value, "${") }); i >= 0 {
				return fmt.Errorf(
					"has a Condition on %q with the policy variable %q, which localcloud cannot enforce", key, values[i])
			}
		}
	}
	return nil
}

// serverKeys are the keys that the S3 server knows the value of in every
// request. aws:SourceIp is not among them: behind the VPC endpoint it means
// something else on AWS.
func serverKeys() []string {
	return []string{"aws:securetransport", "s3:prefix", "s3:delimiter", "s3:max-keys"}
}

// requestKeys are the keys that the requests to all other services have. The last
// ones are followed by the key of a tag.
func requestKeys() []string {
	return []string{
		"aws:requestedregion", "route53:changeresourcerecordsetsnormalizedrecordnames", "iam:passedtoservice",
		"iam:permissionsboundary", "ec2:createaction", "aws:resourcetag/", "aws:requesttag/",
	}
}

func isRequestKey(key string) bool {
	if kind, tag, ok := strings.Cut(key, "/"); ok {
		return tag != "" && slices.Contains(requestKeys(), kind+"/")
	}
	return slices.Contains(slices.Concat(serverKeys(), requestKeys()), key)
}
