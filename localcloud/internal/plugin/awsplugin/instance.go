package awsplugin

import (
	"cmp"
	"context"
	"crypto/sha1" //nolint:gosec // The Terraform provider keeps user data as its SHA-1.
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/pulumi/pulumi/sdk/v3/go/property"

	"immutable-infra/localcloud/internal/cloud"
	"immutable-infra/localcloud/internal/plugin/awsplugin/policy"
	"immutable-infra/localcloud/internal/plugin/awsplugin/schema"
	"immutable-infra/localcloud/internal/plugin/awsplugin/store"
)

// maxUserData is EC2's limit, in bytes before base64.
const maxUserData = 16384

// What EC2 does with an instance that shuts itself down.
const (
	shutdownStops      = "stop"
	shutdownTerminates = "terminate"
)

// instance launches and terminates instances.
type instance struct{}

func (instance) create(ctx context.Context, op *operation, inputs property.Map) (string, error) {
	if err := op.removeSwitchedOff(ctx); err != nil {
		return "", err
	}
	i, err := op.newInstance(ctx, inputs)
	if err != nil {
		return "", err
	}
	id := i.Instance.ID
	// Known to be unfinished before anything runs, so that nothing is left over
	// if this process is killed.
	i.Pending = true
	op.Instances[id] = i
	if err := op.Save(); err != nil {
		return "", err
	}
	if err := op.launch(ctx, i); err != nil {
		clean, cancel := detached(ctx)
		defer cancel()
		return "", errors.Join(err, op.removeInstance(clean, i), op.Save())
	}
	i.Pending = false
	return id, nil
}

func (op *operation) launch(ctx context.Context, i *store.InstanceRecord) error {
	if err := op.useRole(ctx, i.Instance.IamInstanceProfile); err != nil {
		return err
	}
	if err := op.applyGateway(ctx, i.VpcID); err != nil {
		return err
	}
	err := op.cloud.RunInstance(ctx, cloud.InstanceSpec{
		ID:           i.Instance.ID,
		VpcID:        i.VpcID,
		AMI:          i.Instance.Ami,
		InstanceType: i.Instance.InstanceType,
		PrivateIP:    netip.MustParseAddr(i.Instance.PrivateIP),
		Name:         i.Instance.Tags["Name"],
	})
	if err != nil {
		return fmt.Errorf("run instance %s: %w", i.Instance.ID, err)
	}
	return nil
}

// removeSwitchedOff terminates the instances that shut themselves down and that
// asked to be terminated then.
func (op *operation) removeSwitchedOff(ctx context.Context) error {
	for id, i := range op.Instances {
		if i.Pending || i.Instance.InstanceInitiatedShutdownBehavior != shutdownTerminates {
			continue
		}
		state, err := op.cloud.InstanceState(ctx, id)
		if err != nil && !errors.Is(err, cloud.ErrNotFound) {
			return fmt.Errorf("ask for the state of instance %s: %w", id, err)
		}
		if err == nil && state == cloud.InstanceStopped {
			if err := op.removeInstance(ctx, i); err != nil {
				return err
			}
		}
	}
	return nil
}

func (instance) read(ctx context.Context, op *operation, id string) (any, error) {
	i, err := found(op.Instances, id)
	if err != nil {
		return nil, err
	}
	state, err := op.cloud.InstanceState(ctx, id)
	if errors.Is(err, cloud.ErrNotFound) {
		// Terminated by other means: what it held is free again.
		if err := op.removeInstance(ctx, i); err != nil {
			return nil, err
		}
		return nil, errGone
	}
	if err != nil {
		return nil, fmt.Errorf("ask for the state of instance %s: %w", id, err)
	}
	if state == cloud.InstanceStopped && i.Instance.InstanceInitiatedShutdownBehavior == shutdownTerminates {
		if err := op.removeInstance(ctx, i); err != nil {
			return nil, err
		}
		return nil, errGone
	}
	shown := i.Instance
	shown.InstanceState = state
	if state != cloud.InstanceStopped || op.elasticIP(id) != nil {
		shown.PublicIP = op.publicIP(i) // a stopped instance keeps an Elastic IP and no other address
	}
	// What AWS shows is whether there is a public address now, an Elastic IP included.
	associated := shown.PublicIP != ""
	shown.AssociatePublicIPAddress = &associated
	if v := op.Vpcs[i.VpcID]; v != nil && v.EnableDNSHostnames {
		shown.PublicDNS = op.publicDNS(shown.PublicIP)
	}
	return &shown, nil
}

func (instance) update(ctx context.Context, op *operation, id string, inputs property.Map) error {
	i, err := found(op.Instances, id)
	if err != nil {
		return err
	}
	var next store.Instance
	if err := schema.Decode(inputs, &next); err != nil {
		return err
	}
	if next.VpcSecurityGroupIDs != nil {
		if err := op.checkGroups(next.VpcSecurityGroupIDs, i.VpcID); err != nil {
			return err
		}
		i.Instance.VpcSecurityGroupIDs = next.VpcSecurityGroupIDs
	}
	if next.MetadataOptions != nil {
		options, err := metadataOptions(next.MetadataOptions, i.Instance.MetadataOptions)
		if err != nil {
			return err
		}
		i.Instance.MetadataOptions = options
	}
	if next.IamInstanceProfile != "" {
		if err := op.checkProfile(next.IamInstanceProfile); err != nil {
			return err
		}
		i.Instance.IamInstanceProfile = next.IamInstanceProfile
		if err := op.useRole(ctx, next.IamInstanceProfile); err != nil {
			return err
		}
	}
	if next.RootBlockDevice != nil {
		i.Instance.RootBlockDevice.Tags = next.RootBlockDevice.Tags
	}
	if next.MaintenanceOptions != nil {
		i.Instance.MaintenanceOptions = next.MaintenanceOptions
	}
	i.Instance.CreditSpecification = next.CreditSpecification
	if next.InstanceInitiatedShutdownBehavior != "" {
		i.Instance.InstanceInitiatedShutdownBehavior = next.InstanceInitiatedShutdownBehavior
	}
	i.Instance.UserDataReplaceOnChange = next.UserDataReplaceOnChange
	i.Instance.Tags = next.Tags
	i.Instance.VolumeTags = next.VolumeTags
	return op.applyGateway(ctx, i.VpcID)
}

// refuseUpdate names the changes that on AWS stop and start the instance, or
// resize its volume.
func (instance) refuseUpdate(op *operation, id string, inputs property.Map) error {
	i, err := found(op.Instances, id)
	if err != nil {
		return err
	}
	var next store.Instance
	if err := schema.Decode(inputs, &next); err != nil {
		return err
	}
	now, root := i.Instance, i.Instance.RootBlockDevice
	nextRoot := next.RootBlockDevice
	if nextRoot == nil {
		nextRoot = &store.RootBlockDevice{}
	}
	changed := []struct {
		name    string
		changed bool
	}{
		{"instanceType", next.InstanceType != "" && next.InstanceType != now.InstanceType},
		{"userData", next.UserData != "" && hashUserData(next.UserData) != now.UserData},
		{"userDataBase64", next.UserDataBase64 != "" && next.UserDataBase64 != now.UserDataBase64},
		{"rootBlockDevice.volumeSize", nextRoot.VolumeSize != 0 && nextRoot.VolumeSize != root.VolumeSize},
		{"rootBlockDevice.volumeType", nextRoot.VolumeType != "" && nextRoot.VolumeType != root.VolumeType},
		{"rootBlockDevice.iops", nextRoot.Iops != 0 && nextRoot.Iops != root.Iops},
		{"rootBlockDevice.throughput", nextRoot.Throughput != 0 && nextRoot.Throughput != root.Throughput},
	}
	for _, c := range changed {
		if c.changed {
			return fmt.Errorf("a change of %s in place is not supported by localcloud: this project replaces servers; "+
				"set userDataReplaceOnChange, and pulumi.ReplaceOnChanges([]string{%q})", c.name, c.name)
		}
	}
	return nil
}

func (instance) delete(ctx context.Context, op *operation, id string) error {
	i, err := found(op.Instances, id)
	if err != nil {
		return err
	}
	return op.removeInstance(ctx, i)
}

// newInstance checks inputs as RunInstances does, and fills in what AWS chooses.
func (op *operation) newInstance(ctx context.Context, inputs property.Map) (*store.InstanceRecord, error) {
	i := &store.InstanceRecord{}
	if err := schema.Decode(inputs, &i.Instance); err != nil {
		return nil, err
	}
	in := &i.Instance
	s, err := op.subnet(in.SubnetID)
	if err != nil {
		return nil, err
	}
	i.VpcID = s.VpcID
	if in.AvailabilityZone != "" && in.AvailabilityZone != s.AvailabilityZone {
		return nil, apiError("InvalidParameterValue", "The availability zone '%s' does not match the subnet's, '%s'",
			in.AvailabilityZone, s.AvailabilityZone)
	}
	in.AvailabilityZone = s.AvailabilityZone
	if err := checkZone(op.region, in.AvailabilityZone, in.InstanceType); err != nil {
		return nil, err
	}

	image, err := op.image(ctx, in.Ami, in.InstanceType)
	if err != nil {
		return nil, err
	}
	i.Architecture = image.Architecture
	if in.RootBlockDevice, err = rootBlockDevice(in.RootBlockDevice, image.RootDeviceName); err != nil {
		return nil, err
	}
	if in.MetadataOptions, err = metadataOptions(in.MetadataOptions, &store.MetadataOptions{
		HTTPEndpoint: "enabled", HTTPTokens: "optional", HTTPPutResponseHopLimit: 1,
		HTTPProtocolIpv6: "disabled", InstanceMetadataTags: "disabled",
	}); err != nil {
		return nil, err
	}
	if i.UserData, err = userData(in); err != nil {
		return nil, err
	}
	if len(in.VpcSecurityGroupIDs) == 0 {
		in.VpcSecurityGroupIDs = []string{op.Vpcs[s.VpcID].DefaultSecurityGroupID}
	}
	if err := op.checkGroups(in.VpcSecurityGroupIDs, s.VpcID); err != nil {
		return nil, err
	}
	if in.KeyName != "" {
		key, ok := op.KeyPairs[in.KeyName]
		if !ok {
			return nil, apiError("InvalidKeyPair.NotFound", "The key pair '%s' does not exist", in.KeyName)
		}
		i.PublicKey = key.PublicKey
	}
	if in.IamInstanceProfile != "" {
		if err := op.checkProfile(in.IamInstanceProfile); err != nil {
			return nil, err
		}
	}
	if in.PrivateIP, err = op.privateIP(s, in.PrivateIP); err != nil {
		return nil, err
	}

	i.AutoAssign = s.MapPublicIPOnLaunch
	if in.AssociatePublicIPAddress != nil {
		i.AutoAssign = *in.AssociatePublicIPAddress
	}
	if err := op.autoAssign(i); err != nil {
		return nil, err
	}

	in.ID = newID("i")
	in.Arn = op.ec2ARN("instance", in.ID)
	in.PrimaryNetworkInterfaceID = newID("eni")
	in.PrivateDNS = op.privateDNS(in.PrivateIP)
	in.InstanceInitiatedShutdownBehavior = cmp.Or(in.InstanceInitiatedShutdownBehavior, shutdownStops)
	in.Tenancy = "default"
	if in.MaintenanceOptions == nil {
		in.MaintenanceOptions = &store.MaintenanceOptions{AutoRecovery: "default"}
	}
	return i, nil
}

func (op *operation) image(ctx context.Context, ami, instanceType string) (cloud.Image, error) {
	image, err := op.cloud.Image(ctx, ami)
	if errors.Is(err, cloud.ErrNotFound) {
		return cloud.Image{}, apiError("InvalidAMIID.NotFound", "The image id '[%s]' does not exist: %s", ami, err)
	}
	if err != nil {
		return cloud.Image{}, fmt.Errorf("look up image %s: %w", ami, err)
	}
	if architecture := schema.Architecture(instanceType); image.Architecture != architecture {
		return cloud.Image{}, apiError("InvalidParameterValue",
			"The architecture '%s' of the specified instance type does not match the architecture '%s' of the specified AMI. "+
				"Specify an instance type and an AMI that have matching architectures, and try again.", architecture, image.Architecture)
	}
	return image, nil
}

func (op *operation) checkGroups(ids []string, vpcID string) error {
	for _, id := range ids {
		g, err := op.securityGroup(id)
		if err != nil {
			return err
		}
		if g.VpcID != vpcID {
			return apiError("InvalidParameter", "Security group %s and the instance's subnet belong to different networks.", id)
		}
	}
	return nil
}

// checkProfile refuses a profile without which the instance would start, and
// then never have credentials.
func (op *operation) checkProfile(name string) error {
	profile, ok := op.InstanceProfiles[name]
	if !ok {
		return apiError("InvalidParameterValue", "Value (%s) for parameter iamInstanceProfile.name is invalid. Invalid IAM Instance Profile name", name)
	}
	r, ok := op.Roles[profile.Role]
	if !ok {
		return apiError("InvalidParameterValue", "IAM Instance Profile %q has no associated IAM Roles", profile.Arn)
	}
	trust, err := policy.TrustPolicy(r.Role.AssumeRolePolicy)
	if err != nil {
		return fmt.Errorf("read the assume role policy of %s: %w", r.Role.Name, err)
	}
	if !trust.TrustsEC2() {
		return apiError("InvalidParameterValue",
			"EC2 cannot assume the role %s of instance profile %s: its assumeRolePolicy must allow sts:AssumeRole to the service ec2.amazonaws.com",
			r.Role.Name, name)
	}
	return nil
}

// privateIP checks an address, or chooses the first free one. AWS keeps the
// first four addresses and the last one of a subnet to itself.
func (op *operation) privateIP(s *store.Subnet, wanted string) (string, error) {
	block := storedCIDR(s.CidrBlock)
	used := map[string]bool{}
	for _, i := range op.Instances {
		if i.VpcID == s.VpcID {
			used[i.Instance.PrivateIP] = true
		}
	}
	first := block.Addr()
	for range 4 {
		first = first.Next()
	}
	for address := first; block.Contains(address.Next()); address = address.Next() {
		text := address.String()
		switch {
		case wanted == "" && !used[text]:
			return text, nil
		case wanted == text && used[text]:
			return "", apiError("InvalidIPAddress.InUse", "Address %s is in use.", wanted)
		case wanted == text:
			return text, nil
		}
	}
	if wanted != "" {
		return "", apiError("InvalidParameterValue", "Address %s does not fall within the subnet's address range %s, or is reserved", wanted, block)
	}
	return "", apiError("InsufficientFreeAddressesInSubnet", "There are not enough free addresses in subnet '%s'", s.ID)
}

// userData returns what the instance gets, and leaves in the instance what the
// Terraform provider keeps in its state.
func userData(in *store.Instance) ([]byte, error) {
	var data []byte
	switch {
	case in.UserDataBase64 != "":
		decoded, err := base64.StdEncoding.DecodeString(in.UserDataBase64)
		if err != nil {
			return nil, apiError("InvalidUserData.Malformed", "Invalid BASE64 encoding of user data: %s", err)
		}
		data = decoded
	case in.UserData != "":
		data = []byte(in.UserData)
		// The provider sends what already is base64 as it is.
		if decoded, err := base64.StdEncoding.DecodeString(in.UserData); err == nil {
			data = decoded
		}
		in.UserData = hashUserData(in.UserData)
	}
	if len(data) > maxUserData {
		return nil, apiError("InvalidParameterValue", "User data is limited to %d bytes; this has %d", maxUserData, len(data))
	}
	return data, nil
}

func hashUserData(text string) string {
	sum := sha1.Sum([]byte(text)) //nolint:gosec // See above.
	return hex.EncodeToString(sum[:])
}

// metadataOptions completes given options, which may be nil, from current ones.
func metadataOptions(given, current *store.MetadataOptions) (*store.MetadataOptions, error) {
	options := *current
	if given == nil {
		return &options, nil
	}
	if given.HTTPEndpoint != "" {
		options.HTTPEndpoint = given.HTTPEndpoint
	}
	if given.HTTPTokens != "" {
		options.HTTPTokens = given.HTTPTokens
	}
	if given.HTTPPutResponseHopLimit != 0 {
		options.HTTPPutResponseHopLimit = given.HTTPPutResponseHopLimit
	}
	if options.HTTPPutResponseHopLimit < 1 || options.HTTPPutResponseHopLimit > 64 {
		return nil, apiError("InvalidParameterValue", "metadataOptions.httpPutResponseHopLimit is %d: write 1 to 64", options.HTTPPutResponseHopLimit)
	}
	return &options, nil
}

// rootBlockDevice completes the root volume, which may be nil.
func rootBlockDevice(given *store.RootBlockDevice, deviceName string) (*store.RootBlockDevice, error) {
	root := store.RootBlockDevice{DeleteOnTermination: true}
	if given != nil {
		root = *given
	}
	if root.VolumeSize == 0 {
		root.VolumeSize = 8
	}
	if root.VolumeType == "" {
		root.VolumeType = "gp2"
	}
	if root.VolumeSize < 1 || root.VolumeSize > 16384 {
		return nil, apiError("InvalidParameterValue", "rootBlockDevice.volumeSize is %d GiB: write 1 to 16384", root.VolumeSize)
	}
	if root.Throughput != 0 && root.VolumeType != "gp3" {
		return nil, apiError("InvalidParameterCombination", "The parameter Throughput is not supported for %s volumes.", root.VolumeType)
	}
	if root.Iops != 0 && !slices.Contains([]string{"gp3", "io1", "io2"}, root.VolumeType) {
		return nil, apiError("InvalidParameterCombination", "The parameter iops is not supported for %s volumes.", root.VolumeType)
	}
	switch root.VolumeType {
	case "gp3":
		if root.Iops == 0 {
			root.Iops = 3000
		}
		if root.Throughput == 0 {
			root.Throughput = 125
		}
	case "gp2":
		root.Iops = min(max(100, 3*root.VolumeSize), 16000)
	case "io1", "io2":
		if root.Iops == 0 {
			return nil, apiError("MissingParameter", "The parameter iops must be specified for %s volumes.", root.VolumeType)
		}
	}
	root.DeviceName = deviceName
	root.VolumeID = newID("vol")
	return &root, nil
}
