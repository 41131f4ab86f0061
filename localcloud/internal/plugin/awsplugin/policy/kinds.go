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
	// gitHubIssuer issues the OIDC tokens of GitHub Actions workflows.
	gitHubIssuer = "token.actions.githubusercontent.com"
)

// TrustPolicy parses and validates a role's assume role policy.
func TrustPolicy(text string) (Document, error) {
	return parse(text, func(s Statement) error {
		return cmp.Or(
			errorIf(s.Principal == nil, "has no Principal"),
			errorIf(len(s.Action) == 0, "has no Action"),
			errorIf(len(s.Resource)+len(s.NotResource) > 0, "has a Resource, which an assume role policy cannot have"),
			s.checkFederated(),
		)
	})
}

func errorIf(condition bool, text string) error {
	if condition {
		return errors.New(text)
	}
	return nil
}

// TrustsEC2 reports whether EC2 may assume the role for an instance.
func (d Document) TrustsEC2() bool {
	return slices.ContainsFunc(d.Statement, func(s Statement) bool {
		ec2 := slices.Contains(s.Principal["Service"], "ec2.amazonaws.com")
		return s.Effect == "Allow" && ec2 && s.matchesAction("sts:AssumeRole") && len(s.Condition) == 0
	})
}

// checkFederated rejects the federated principals that IAM rejects. GitHub's tokens have the same issuer for all
// repositories, so a role that trusts this issuer without a condition could be assumed by anyone's workflows.
func (s Statement) checkFederated() error {
	for _, provider := range s.Principal["Federated"] {
		_, issuer, ok := strings.Cut(provider, ":oidc-provider/")
		switch {
		case !s.matchesAction("sts:AssumeRoleWithWebIdentity"):
			return fmt.Errorf("trusts %q, but does not allow sts:AssumeRoleWithWebIdentity", provider)
		case !ok || !strings.HasPrefix(provider, "arn:aws:iam::"):
			return fmt.Errorf(
				"trusts %q: localcloud supports only OIDC providers, arn:aws:iam::ACCOUNT:oidc-provider/HOST", provider)
		case s.Effect == "Allow" && issuer == gitHubIssuer && !s.restricts(issuer+":sub"):
			return fmt.Errorf("trusts every repository on GitHub: add a Condition StringEquals or StringLike on %q, "+
				"such as \"repo:OWNER/REPOSITORY:*\"", issuer+":sub")
		}
	}
	return nil
}

// restricts reports whether a statement applies only to certain values of a key.
func (s Statement) restricts(key string) bool {
	for _, operator := range []string{"StringEquals", "StringLike"} {
		for name, values := range s.Condition[operator] {
			matchesAny := func(pattern string) bool { return strings.Trim(pattern, "*?") == "" }
			if strings.EqualFold(name, key) && len(values) > 0 && !slices.ContainsFunc(values, matchesAny) {
				return true
			}
		}
	}
	return false
}

// RolePolicy parses and validates an identity policy.
func RolePolicy(text string) (Document, error) {
	return parse(text, func(s Statement) error {
		return cmp.Or(
			errorIf(s.Principal != nil || s.NotPrincipal != nil, "specifies a principal, which a role's policy cannot have"),
			errorIf(len(s.Action) > 0 && len(s.NotAction) > 0, "has both Action and NotAction"),
			errorIf(len(s.Action)+len(s.NotAction) == 0, "has no Action"),
			errorIf(len(s.Resource) > 0 && len(s.NotResource) > 0, "has both Resource and NotResource"),
			errorIf(len(s.Resource)+len(s.NotResource) == 0, "has no Resource"),
			s.checkActions(), s.checkResources(), s.checkCondition(isRequestKey),
		)
	})
}

// checkActions rejects malformed actions, and S3 actions that do not exist. Only those of S3 are checked by name,
// since the S3 server needs the name of each one.
func (s Statement) checkActions() error {
	form := regexp.MustCompile(`^(\*|[a-z0-9-]+:[A-Za-z0-9*?]+)$`)
	known := s3Actions("object", "bucket", "other")
	for _, pattern := range slices.Concat(s.Action, s.NotAction) {
		if !form.MatchString(pattern) {
			return fmt.Errorf("has Action %q: write SERVICE:ACTION, such as ec2:DescribeInstances", pattern)
		}
		single := Statement{Action: Strings{pattern}}
		if strings.HasPrefix(pattern, "s3:") && len(single.matchedActions(known)) == 0 {
			return fmt.Errorf("has Action %q, which does not exist in S3 or which localcloud cannot enforce", pattern)
		}
	}
	return nil
}

func (s Statement) checkResources() error {
	if len(s.NotResource) > 0 && len(s.matchedActions(s3Actions("object", "bucket"))) > 0 {
		return errors.New("uses NotResource for S3 actions, which localcloud cannot enforce")
	}
	form := regexp.MustCompile(`^arn:aws:[a-z0-9-]+:[^:]*:[^:]*:.+$`)
	for _, resource := range slices.Concat(s.Resource, s.NotResource) {
		switch {
		case resource == "*":
		case strings.Contains(resource, "${"):
			return fmt.Errorf("has Resource %q with a policy variable, which localcloud cannot enforce", resource)
		case strings.HasPrefix(resource, "arn:aws:s3:") && !strings.HasPrefix(resource, s3Prefix):
			return fmt.Errorf(
				"has Resource %q: for S3, localcloud supports only %sBUCKET and %sBUCKET/KEY", resource, s3Prefix, s3Prefix)
		case !form.MatchString(resource):
			return fmt.Errorf(
				"has Resource %q: write an ARN, arn:aws:SERVICE:REGION:ACCOUNT:RESOURCE, without wildcards in SERVICE, or *",
				resource)
		}
	}
	return nil
}

// BucketPolicy parses and validates a bucket policy. Its only principal is everyone: the permissions of a role are
// defined by the role's own policies.
func BucketPolicy(bucket, text string) (Document, error) {
	return parse(text, func(s Statement) error {
		err := cmp.Or(
			errorIf(s.Principal == nil, "has no Principal"),
			errorIf(s.NotPrincipal != nil, "uses NotPrincipal, which localcloud cannot enforce"),
			errorIf(len(s.NotAction) > 0, "uses NotAction, which localcloud cannot enforce"),
			errorIf(len(s.NotResource) > 0, "uses NotResource, which localcloud cannot enforce"),
			errorIf(len(s.Action) == 0, "has no Action"),
			errorIf(len(s.Resource) == 0, "has no Resource"),
		)
		if err != nil {
			return err
		}
		for kind, names := range s.Principal {
			if kind != "AWS" || !slices.Equal(names, Strings{"*"}) {
				return fmt.Errorf("has a principal of kind %s, %q: localcloud supports only \"*\"; grant permissions to a role "+
					"in its own policy", kind, names)
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

// IsPublic reports whether a bucket policy grants any access. Such a grant is public, since BucketPolicy accepts
// only the principal "*".
func (d Document) IsPublic() bool {
	return slices.ContainsFunc(d.Statement, func(s Statement) bool {
		return s.Effect == "Allow"
	})
}

// checkCondition rejects a condition that localcloud cannot evaluate. It passes keys to known in lower case.
func (s Statement) checkCondition(known func(key string) bool) error {
	for operator, keys := range s.Condition {
		if !slices.Contains(operators(), operator) {
			return fmt.Errorf(
				"has a Condition %s, which localcloud cannot enforce; it supports %s", operator, strings.Join(operators(), ", "))
		}
		for key, values := range keys {
			if !known(strings.ToLower(key)) {
				return fmt.Errorf(
					"has a Condition %s on %q, which localcloud cannot enforce; it supports %s, and in role policies also %s",
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

// serverKeys lists the condition keys whose values the S3 server knows for every request. aws:SourceIp is not one
// of them, because on AWS it has a different meaning behind a VPC endpoint.
func serverKeys() []string {
	return []string{"aws:securetransport", "s3:prefix", "s3:delimiter", "s3:max-keys"}
}

// requestKeys lists the condition keys of requests to all other services. Those that end in a slash are followed
// by a tag key.
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
