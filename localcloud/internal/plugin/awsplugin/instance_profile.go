package awsplugin

import (
	"context"

	"github.com/pulumi/pulumi/sdk/v3/go/property"

	"immutable-infra/localcloud/internal/plugin/awsplugin/schema"
	"immutable-infra/localcloud/internal/plugin/awsplugin/store"
)

// instanceProfile makes instance profiles.
type instanceProfile struct{}

func (instanceProfile) create(_ context.Context, op *operation, inputs property.Map) (string, error) {
	var profile store.InstanceProfile
	if err := schema.Decode(inputs, &profile); err != nil {
		return "", err
	}
	if profile.NamePrefix != "" {
		profile.Name = uniqueName(profile.NamePrefix)
	}
	if err := checkIAMName("instanceProfileName", profile.Name, 128); err != nil {
		return "", err
	}
	if err := checkPath(profile.Path); err != nil {
		return "", err
	}
	if _, exists := op.InstanceProfiles[profile.Name]; exists {
		return "", apiError("EntityAlreadyExists", "Instance Profile %s already exists.", profile.Name)
	}
	if profile.Role != "" {
		if _, err := op.role(profile.Role); err != nil {
			return "", err
		}
	}
	profile.ID = profile.Name
	profile.Arn = iamARN("instance-profile", profile.Path, profile.Name)
	profile.CreateDate = now()
	profile.UniqueID = newUniqueID("AIPA")
	op.InstanceProfiles[profile.ID] = &profile
	return profile.ID, nil
}

func (instanceProfile) read(_ context.Context, op *operation, id string) (any, error) {
	profile, err := found(op.InstanceProfiles, id)
	if err != nil {
		return nil, err
	}
	if op.Roles[profile.Role] == nil {
		profile.Role = "" // the provider takes out a role that is gone
	}
	return profile, nil
}

func (instanceProfile) update(ctx context.Context, op *operation, id string, inputs property.Map) error {
	profile, err := found(op.InstanceProfiles, id)
	if err != nil {
		return err
	}
	var next store.InstanceProfile
	if err := schema.Decode(inputs, &next); err != nil {
		return err
	}
	profile.Tags = next.Tags
	if profile.Role == next.Role {
		return nil
	}
	if next.Role != "" {
		if _, err := op.role(next.Role); err != nil {
			return err
		}
	}
	profile.Role = next.Role
	return op.reapplyProfile(ctx, id)
}

// delete does not mind instances that use the profile, as on AWS: they lose
// their credentials.
func (instanceProfile) delete(ctx context.Context, op *operation, id string) error {
	if _, err := found(op.InstanceProfiles, id); err != nil {
		return err
	}
	delete(op.InstanceProfiles, id)
	return op.reapplyProfile(ctx, id)
}

// reapplyProfile brings a change of a profile to the instances that have it.
func (op *operation) reapplyProfile(ctx context.Context, name string) error {
	vpcs := map[string]bool{}
	for _, i := range op.Instances {
		if i.Instance.IamInstanceProfile == name {
			vpcs[i.VpcID] = true
		}
	}
	if len(vpcs) == 0 {
		return nil
	}
	if err := op.useRole(ctx, name); err != nil {
		return err
	}
	for vpcID := range vpcs {
		if err := op.applyGateway(ctx, vpcID); err != nil {
			return err
		}
	}
	return nil
}
