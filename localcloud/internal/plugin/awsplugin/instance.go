package awsplugin

import (
	"context"
	"crypto/sha1" //nolint:gosec // The Terraform provider stores the SHA-1 of user data.
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"net/netip"

	"immutable-infra/localcloud/internal/cloud"
	"immutable-infra/localcloud/internal/plugin/awsplugin/policy"
	"immutable-infra/localcloud/internal/plugin/awsplugin/schema"
	"immutable-infra/localcloud/internal/plugin/awsplugin/store"
)

// maxUserData is EC2's limit, in bytes before base64.
const maxUserData = 16384

// terminateOnShutdown is the instanceInitiatedShutdownBehavior of instances that EC2 terminates, instead of
// stopping them, when they shut down.
const terminateOnShutdown = "terminate"

func makeInstance(ctx context.Context, op *operation, r store.Record) error {
	if err := op.terminateShutDownInstances(ctx); err != nil {
		return err
	}
	i, err := op.newInstance(ctx, r)
	if err != nil {
		return err
	}
	// Save it as pending before anything runs, so that it can be removed if this process is killed.
	i.Pending = true
	op.Instances[r.Text("id")] = i
	if err := op.Save(); err != nil {
		return err
	}
	if err := op.launch(ctx, i); err != nil {
		clean, cancel := detached(ctx)
		defer cancel()
		return errors.Join(err, op.removeInstance(clean, i), op.Save())
	}
	i.Pending = false
	return nil
}

func (op *operation) launch(ctx context.Context, i *store.Instance) error {
	if err := op.ensureProfileAccount(ctx, i.Shown.Text("iamInstanceProfile")); err != nil {
		return err
	}
	if err := op.applyGateways(ctx, i.VpcID); err != nil {
		return err
	}
	id := i.Shown.Text("id")
	err := op.cloud.RunInstance(ctx, cloud.InstanceSpec{
		ID:           id,
		VpcID:        i.VpcID,
		AMI:          i.Shown.Text("ami"),
		InstanceType: i.Shown.Text("instanceType"),
		PrivateIP:    netip.MustParseAddr(i.Shown.Text("privateIp")),
		Name:         i.Shown.Tags("tags")["Name"],
	})
	if err != nil {
		return fmt.Errorf("cannot run instance %s: %w", id, err)
	}
	return nil
}

// terminateShutDownInstances terminates the instances that have shut down and whose shutdown behavior is to
// terminate.
func (op *operation) terminateShutDownInstances(ctx context.Context) error {
	for _, i := range op.Instances {
		if i.Pending || i.Shown.Text("instanceInitiatedShutdownBehavior") != terminateOnShutdown {
			continue
		}
		state, err := op.instanceState(ctx, i)
		if err != nil {
			return err
		}
		if state == terminateOnShutdown {
			if err := op.removeInstance(ctx, i); err != nil {
				return err
			}
		}
	}
	return nil
}

// instanceState returns the state of an instance. It is "" if the instance was terminated by other means, and
// terminateOnShutdown if it has shut down and has to be terminated for that reason.
func (op *operation) instanceState(ctx context.Context, i *store.Instance) (string, error) {
	id := i.Shown.Text("id")
	state, err := op.cloud.InstanceState(ctx, id)
	switch {
	case errors.Is(err, cloud.ErrNotFound):
		return "", nil
	case err != nil:
		return "", fmt.Errorf("cannot get the state of instance %s: %w", id, err)
	case state == cloud.InstanceStopped && i.Shown.Text("instanceInitiatedShutdownBehavior") == terminateOnShutdown:
		return terminateOnShutdown, nil
	}
	return state, nil
}

func showInstance(ctx context.Context, op *operation, r store.Record) (store.Record, error) {
	id := r.Text("id")
	i := op.Instances[id]
	state, err := op.instanceState(ctx, i)
	if err != nil {
		return nil, err
	}
	if state == "" || state == terminateOnShutdown {
		// Release its addresses.
		if err := op.removeInstance(ctx, i); err != nil {
			return nil, err
		}
		return nil, errNotFound
	}
	shown, address := maps.Clone(r), ""
	if state != cloud.InstanceStopped || op.elasticIP(id) != nil {
		address = op.publicIP(i) // a stopped instance keeps an Elastic IP and no other address
	}
	// On AWS, associatePublicIpAddress tells whether the instance currently has a public address or Elastic IP.
	shown["instanceState"], shown["publicIp"], shown["associatePublicIpAddress"] = state, address, address != ""
	shown["publicDns"] = ""
	if op.Vpcs[i.VpcID].Flag("enableDnsHostnames") {
		shown["publicDns"] = publicDNS(address)
	}
	return shown, nil
}

func shutDownInstance(ctx context.Context, c cloud.Cloud, id string) error {
	return ignoreNotFound(c.ShutDownInstance(ctx, id))
}

func removeInstance(ctx context.Context, op *operation, r store.Record) error {
	return op.removeInstance(ctx, op.Instances[r.Text("id")])
}

// newInstance validates a record as RunInstances does and fills in the values that AWS chooses.
func (op *operation) newInstance(ctx context.Context, r store.Record) (*store.Instance, error) {
	if profile := r.Text("iamInstanceProfile"); profile != "" {
		if err := op.checkProfile(profile); err != nil {
			return nil, err
		}
	}
	subnet := op.Subnets[r.Text("subnetId")]
	i := &store.Instance{Shown: r, VpcID: subnet.Text("vpcId")}
	zone := subnet.Text("availabilityZone")
	if wanted := r.Text("availabilityZone"); wanted != "" && wanted != zone {
		return nil, invalidParameter("The availability zone '%s' does not match the subnet's, '%s'", wanted, zone)
	}
	r["availabilityZone"] = zone
	if err := checkZone(op.region, zone, r.Text("instanceType")); err != nil {
		return nil, err
	}
	image, err := op.image(ctx, r.Text("ami"), r.Text("instanceType"))
	if err != nil {
		return nil, err
	}
	i.Architecture = image.Architecture
	completeRootVolume(r, image.RootDeviceName)
	if i.UserData, err = userData(r); err != nil {
		return nil, err
	}
	privateIP, err := op.privateIP(subnet)
	if err != nil {
		return nil, err
	}
	if err := op.autoAssign(i); err != nil {
		return nil, err
	}
	r["privateIp"] = privateIP
	r["privateDns"] = cloud.PrivateHostname(netip.MustParseAddr(privateIP)) + "." + cloud.PrivateDomain
	r["primaryNetworkInterfaceId"] = newID("eni")
	return i, nil
}

func (op *operation) image(ctx context.Context, ami, instanceType string) (cloud.Image, error) {
	image, err := op.cloud.Image(ctx, ami)
	if errors.Is(err, cloud.ErrNotFound) {
		return cloud.Image{}, apiError("InvalidAMIID.NotFound", "The image id '[%s]' does not exist: %s", ami, err)
	}
	if err != nil {
		return cloud.Image{}, fmt.Errorf("cannot look up image %s: %w", ami, err)
	}
	if architecture := schema.Architecture(instanceType); image.Architecture != architecture {
		return cloud.Image{}, invalidParameter(
			"The architecture '%s' of the specified instance type does not match the architecture '%s' of the specified AMI. "+
				"Specify an instance type and an AMI that have matching architectures, and try again.",
			architecture, image.Architecture)
	}
	return image, nil
}

// checkProfile rejects a profile with which the instance would start but never get credentials.
func (op *operation) checkProfile(name string) error {
	profile, ok := op.InstanceProfiles[name]
	if !ok {
		return invalidParameter(
			"Value (%s) for parameter iamInstanceProfile.name is invalid. Invalid IAM Instance Profile name", name)
	}
	r, ok := op.Roles[profile.Text("role")]
	if !ok {
		return invalidParameter("IAM Instance Profile %q has no associated IAM Roles", profile.Text("arn"))
	}
	trust, err := policy.TrustPolicy(r.Shown.Text("assumeRolePolicy"))
	if err != nil {
		return fmt.Errorf("cannot read the assume role policy of %s: %w", profile.Text("role"), err)
	}
	if !trust.TrustsEC2() {
		return invalidParameter(
			"EC2 cannot assume the role %s of instance profile %s: its assumeRolePolicy must allow sts:AssumeRole to the "+
				"service ec2.amazonaws.com",
			profile.Text("role"), name)
	}
	return nil
}

// privateIP returns the first free address of a subnet. AWS reserves the first four addresses and the last one.
func (op *operation) privateIP(subnet store.Record) (string, error) {
	block := netip.MustParsePrefix(subnet.Text("cidrBlock"))
	used := map[string]bool{}
	for _, i := range op.Instances {
		if i.VpcID == subnet.Text("vpcId") {
			used[i.Shown.Text("privateIp")] = true
		}
	}
	first := block.Addr()
	for range 4 {
		first = first.Next()
	}
	for address := first; block.Contains(address.Next()); address = address.Next() {
		if text := address.String(); !used[text] {
			return text, nil
		}
	}
	return "", apiError("InsufficientFreeAddressesInSubnet",
		"There are not enough free addresses in subnet '%s'", subnet.Text("id"))
}

// userData returns the user data for the instance, and replaces it in the record with its SHA-1, which is what the
// Terraform provider stores in its state.
func userData(r store.Record) ([]byte, error) {
	text := r.Text("userData")
	data := []byte(text)
	// The provider sends data that already is base64 unchanged.
	if decoded, err := base64.StdEncoding.DecodeString(text); err == nil {
		data = decoded
	}
	if text != "" {
		sum := sha1.Sum([]byte(text)) //nolint:gosec // See above.
		r["userData"] = hex.EncodeToString(sum[:])
	}
	if len(data) > maxUserData {
		return nil, invalidParameter("User data is limited to %d bytes, but has %d", maxUserData, len(data))
	}
	return data, nil
}

// completeRootVolume fills in the properties of the root volume that EC2 chooses.
func completeRootVolume(r store.Record, deviceName string) {
	root := r.Object("rootBlockDevice")
	switch root.Text("volumeType") {
	case "gp3":
		root["iops"], root["throughput"] = 3000.0, 125.0
	case "gp2":
		root["iops"] = float64(min(max(100, 3*root.Number("volumeSize")), 16000))
	}
	root["deviceName"], root["volumeId"] = deviceName, newID("vol")
}
