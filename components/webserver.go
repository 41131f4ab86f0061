package components

import (
	"crypto/sha256"
	"fmt"
	"slices"
	"time"

	"github.com/pulumi/pulumi-aws/sdk/v6/go/aws/ec2"
	"github.com/pulumi/pulumi-aws/sdk/v6/go/aws/iam"
	"github.com/pulumi/pulumi-tls/sdk/v5/go/tls"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"immutable-infra/bake"
	"immutable-infra/server"
)

const (
	// reportTimeout is reserved at the end of a step's timeout, so that the step reports its own error before Pulumi's
	// timeout ends it.
	reportTimeout = 30 * time.Second
	// reachTimeout bounds the retries when probing a server that is ready.
	reachTimeout = 30 * time.Second
	// handoverTimeout bounds how long a new server waits for the handover by the active one.
	handoverTimeout = 30 * time.Second
	// takeoverTimeout bounds the subsequent restore of the last data and start of metrics collection.
	takeoverTimeout = time.Minute
)

// WebServerArgs are the arguments of a WebServer.
type WebServerArgs struct {
	// Settings configures the server. server.Defaults returns the defaults.
	server.Settings
	// Secrets is an output of server.Secrets. Optional.
	Secrets pulumi.Output `pulumi:"secrets"`

	Network *Network `pulumi:"network"`
	// SshCA provides the server's host key and certificate.
	SshCA *SshCA `pulumi:"sshCA"`
	// Address is the VIP, by which the server knows whether it is the active one.
	Address pulumi.StringInput `pulumi:"address"`
	// Content is the bucket from which the server downloads the site, Release the release in it.
	Content Bucket             `pulumi:"content"`
	Release pulumi.StringInput `pulumi:"release"`
	// Backup is the bucket that the server reads and writes.
	Backup Bucket `pulumi:"backup"`

	// SSHAllowFromSecret hides SSHAllowFrom in previews. Default: false.
	SSHAllowFromSecret bool `pulumi:"sshAllowFromSecret"`
	// AMI is the id of a Debian 13 image for the instance type's architecture.
	AMI pulumi.StringInput `pulumi:"ami"`
	// Bundle is the archive of the files and programs that run on the server.
	Bundle server.Bundle `pulumi:"bundle"`
	// Boundary is the ARN of the permissions boundary of the server's role. Optional.
	Boundary pulumi.StringPtrInput `pulumi:"boundary"`
	// DependsOn lists additional resources that the server waits for. Optional.
	DependsOn []pulumi.Resource
}

// validate returns an error that lists the missing arguments, or nil.
func (args *WebServerArgs) validate() error {
	if args == nil {
		return errNoArgs
	}
	return required(map[string]bool{
		"Network": args.Network != nil, "SshCA": args.SshCA != nil,
		"Address": args.Address != nil, "Release": args.Release != nil, "AMI": args.AMI != nil,
		"Content": args.Content.Name != nil && args.Content.ARN != nil,
		"Backup":  args.Backup.Name != nil && args.Backup.ARN != nil,
		"Bundle":  args.Bundle.Path != "" && args.Bundle.Hash != "",
		"Region":  args.Region != "", "Domain": args.Domain != "", "Admins": len(args.Admins) > 0,
		"ACMEDirectory": args.ACMEDirectory != "", "ACMEEmail": args.ACMEEmail != "",
		"InstanceType": args.InstanceType != "", "RootVolumeSize": args.RootVolumeSize > 0,
		"ProvisioningTimeout": args.ProvisioningTimeout > 0, "ReleasesKept": args.ReleasesKept > 0,
		"MetricsRetention": args.MetricsRetention != "", "VictorOpsRouting": args.VictorOpsRouting != "",
		"BackupInterval": args.BackupInterval > 0, "BackupRetention": args.BackupRetention > 0,
		"SSHPort":      args.SSHPort > 0,
		"SSHAllowFrom": len(args.SSHAllowFrom) > 0 || args.Network != nil && args.Network.RunnerGroup != nil,
	})
}

// WebServer is one server. It is never updated: each change replaces it.
type WebServer struct {
	pulumi.ResourceState

	// InstanceID is the id of the EC2 instance.
	InstanceID pulumi.IDOutput `pulumi:"instanceId"`
	// Ready lists the step after which the VIP may move to the server.
	Ready []pulumi.Resource
}

// NewWebServer creates a WebServer.
func NewWebServer(
	ctx *pulumi.Context, name string, args *WebServerArgs, opts ...pulumi.ResourceOption,
) (*WebServer, error) {
	if err := args.validate(); err != nil {
		return nil, fmt.Errorf("web server %s: %w", name, err)
	}
	web := &WebServer{}
	if err := ctx.RegisterComponentResource(token("WebServer"), name, web, opts...); err != nil {
		return nil, err
	}
	parent := pulumi.Parent(web)

	profile, permissions, err := newInstanceProfile(ctx, name, args, parent)
	if err != nil {
		return nil, err
	}
	firewall, err := newSecurityGroup(ctx, name, args, parent)
	if err != nil {
		return nil, err
	}

	// With a security group for runners, the address of the provisioning machine is not known yet.
	bootstrapFrom := args.SSHAllowFrom
	if args.Network.RunnerGroup != nil {
		bootstrapFrom = nil
	}

	secrets := args.Secrets
	if secrets == nil {
		secrets = pulumi.Any(server.Secrets{})
	}
	// Secret even if no input is, because it contains passwords.
	render := func(bootstrapKey pulumi.StringInput) pulumi.StringOutput {
		return pulumi.ToSecret(pulumi.All(
			args.SshCA.HostPrivateKey, args.SshCA.HostPublicKey, args.SshCA.HostCertificate,
			args.Content.Name, args.Backup.Name, args.Address, bootstrapKey, secrets,
		).ApplyT(func(values []any) (string, error) {
			secrets, ok := values[7].(server.Secrets)
			if !ok {
				return "", fmt.Errorf("web server %s: Secrets is %T, not server.Secrets", name, values[7])
			}
			return server.UserData(server.UserDataArgs{
				Settings:        args.Settings,
				Secrets:         secrets,
				Stack:           ctx.Stack(),
				ContentBucket:   values[3].(string),
				BackupBucket:    values[4].(string),
				VIP:             values[5].(string),
				HostPrivateKey:  values[0].(string),
				HostPublicKey:   values[1].(string),
				HostCertificate: values[2].(string),
				BootstrapKey:    values[6].(string),
				BootstrapFrom:   bootstrapFrom,
				BundleHash:      args.Bundle.Hash,
			})
		})).(pulumi.StringOutput)
	}

	// The key of the logins that provision the server. Each server has its own.
	identity := pulumi.Unsecret(pulumi.All(args.AMI, render(pulumi.String(""))).ApplyT(func(values []any) string {
		inputs := fmt.Appendf(nil, "%s %s %d %s", values[0], args.InstanceType, args.RootVolumeSize, values[1])
		return fmt.Sprintf("%x", sha256.Sum256(inputs))
	}))
	key, err := tls.NewPrivateKey(ctx, name+"-bootstrap", &tls.PrivateKeyArgs{
		Algorithm: pulumi.String("ED25519"),
	}, parent, pulumi.ReplacementTrigger(identity))
	if err != nil {
		return nil, err
	}

	groups := pulumi.StringArray{firewall.ID()}
	if args.Network.RunnerGroup != nil {
		groups = append(groups, args.Network.RunnerGroup)
	}
	instance, err := ec2.NewInstance(ctx, name, &ec2.InstanceArgs{
		Ami:                 args.AMI,
		InstanceType:        pulumi.String(args.InstanceType),
		SubnetId:            args.Network.SubnetID,
		VpcSecurityGroupIds: groups,
		IamInstanceProfile:  profile.Name,
		UserData:            render(key.PublicKeyOpenssh),
		// By default, the provider would stop the server, change its user data and start it again.
		UserDataReplaceOnChange: pulumi.Bool(true),
		// A server that never gets the VIP terminates itself: see boot/unclaimed.timer in package server.
		InstanceInitiatedShutdownBehavior: pulumi.String("terminate"),
		// True, although the VIP replaces this address later: with false, every refresh of an instance with an Elastic IP
		// would plan a replacement.
		AssociatePublicIpAddress: pulumi.Bool(true),
		MetadataOptions: &ec2.InstanceMetadataOptionsArgs{
			HttpTokens: pulumi.String("required"),
			// One hop reaches the server itself, but not its containers.
			HttpPutResponseHopLimit: pulumi.Int(1),
		},
		RootBlockDevice: &ec2.InstanceRootBlockDeviceArgs{
			Encrypted:           pulumi.Bool(true),
			VolumeType:          pulumi.String("gp3"),
			VolumeSize:          pulumi.Int(args.RootVolumeSize),
			DeleteOnTermination: pulumi.Bool(true),
		},
		// Otherwise T4g instances start in unlimited mode, which can add cost.
		CreditSpecification: &ec2.InstanceCreditSpecificationArgs{CpuCredits: pulumi.String("standard")},
		Tags:                pulumi.StringMap{bake.FailedTag: pulumi.String(bake.NotFailed)},
	}, parent,
		pulumi.DependsOn(slices.Concat([]pulumi.Resource{permissions}, args.DependsOn, args.Network.Ready)),
		// The inputs that EC2 could change on the running server, and the tag of a server that failed its bake.
		pulumi.ReplaceOnChanges([]string{
			"instanceType", "vpcSecurityGroupIds", "iamInstanceProfile", "metadataOptions", "rootBlockDevice",
			"creditSpecification", "tags." + bake.FailedTag,
		}))
	if err != nil {
		return nil, err
	}

	ready, err := provision(ctx, name, args, web, instance, key)
	if err != nil {
		return nil, err
	}
	web.InstanceID = instance.ID()
	if safeguards {
		web.Ready = []pulumi.Resource{ready}
	}
	return web, ctx.RegisterResourceOutputs(web, pulumi.Map{"instanceId": web.InstanceID})
}

// provision logs in to the server, copies the bundle to it, provisions it until it is ready, probes it from outside,
// and makes the active server hand over.
func provision(
	ctx *pulumi.Context, name string, args *WebServerArgs, web *WebServer, instance *ec2.Instance, key *tls.PrivateKey,
) (ready pulumi.Resource, err error) {
	host := pulumi.StringInput(instance.PublicIp)
	if !safeguards {
		host = args.Address
	}
	connection := sshConnection{
		Host:       host,
		Port:       args.SSHPort,
		User:       server.BootstrapUser,
		PrivateKey: key.PrivateKeyOpenssh,
		HostKey:    args.SshCA.HostPublicKey,
	}
	triggers := pulumi.Array{instance.ID()}
	timeout := time.Duration(args.ProvisioningTimeout) * time.Minute
	// The parent is not the instance: if it terminated itself after a failed update, the engine would panic in the
	// refresh, because the parent's URN would be that of the older instance, later in the state. In earlier versions,
	// the instance was the parent.
	parent := pulumi.Composite(pulumi.Parent(web), pulumi.Aliases([]pulumi.Alias{{Parent: instance}}))

	loggedIn, err := newLogin(ctx, name+"-login", login{
		Connection: connection,
		Within:     timeout - reportTimeout,
		Triggers:   triggers,
	}, parent)
	if err != nil {
		return nil, err
	}
	archive := pulumi.NewFileAsset(args.Bundle.Path)
	bundle, err := newRemoteFile(ctx, name+"-bundle", connection, archive, server.BundleUploadPath, triggers,
		parent, onceForServer(instance, timeout), pulumi.DependsOn([]pulumi.Resource{loggedIn}))
	if err != nil {
		return nil, err
	}
	script := server.ProvisionCommand(timeout - reportTimeout)
	provisioned, err := newRemoteCommand(ctx, name+"-provision", connection, script, triggers,
		parent, onceForServer(instance, timeout), pulumi.DependsOn([]pulumi.Resource{bundle}))
	if err != nil {
		return nil, err
	}
	// Readiness was checked on the server itself. The probe also covers its firewall and the network.
	reached, err := newProbe(ctx, name+"-reachable", probe{
		Name:    args.Domain,
		Address: host,
		// The first server of a stack has no certificate yet: an authority validates the site at the VIP.
		AnyCertificate: true,

		Server:   instance.ID(),
		Release:  args.Release,
		Within:   reachTimeout,
		Triggers: triggers,
	}, parent, pulumi.DependsOn([]pulumi.Resource{provisioned}))
	if err != nil {
		return nil, err
	}
	if !safeguards {
		return reached, nil
	}
	timeout = handoverTimeout + takeoverTimeout
	script = server.HandoverCommand(handoverTimeout, timeout)
	return newRemoteCommand(ctx, name+"-handover", connection, script, triggers,
		parent, onceForServer(instance, timeout), pulumi.DependsOn([]pulumi.Resource{reached}))
}

// newInstanceProfile creates the servers' role, with least privilege. A server must not start before permissions
// exists.
func newInstanceProfile(
	ctx *pulumi.Context, name string, args *WebServerArgs, parent pulumi.ResourceOption,
) (profile *iam.InstanceProfile, permissions *iam.RolePolicy, err error) {
	role, err := iam.NewRole(ctx, name, &iam.RoleArgs{
		AssumeRolePolicy: pulumi.JSONMarshal(pulumi.Map{
			"Version": pulumi.String("2012-10-17"),
			"Statement": pulumi.Array{pulumi.Map{
				"Effect":    pulumi.String("Allow"),
				"Principal": pulumi.Map{"Service": pulumi.String("ec2.amazonaws.com")},
				"Action":    pulumi.String("sts:AssumeRole"),
			}},
		}),
		Path:                rolePath(ctx),
		PermissionsBoundary: args.Boundary,
	}, parent)
	if err != nil {
		return nil, nil, err
	}
	permissions, err = iam.NewRolePolicy(ctx, name, &iam.RolePolicyArgs{
		Role:   role.Name,
		Policy: pulumi.JSONMarshal(serverPermissions(args.Content.ARN, args.Backup.ARN)),
	}, parent)
	if err != nil {
		return nil, nil, err
	}
	profile, err = iam.NewInstanceProfile(ctx, name, &iam.InstanceProfileArgs{
		Role: role.Name,
		Path: rolePath(ctx),
	}, parent)
	return profile, permissions, err
}

// rolePath returns the IAM path of a stack's server roles. With it, a policy can allow the creation of server roles and
// of no others.
func rolePath(ctx *pulumi.Context) pulumi.StringInput {
	return pulumi.Sprintf("/%s/%s/", ctx.Project(), ctx.Stack())
}

// serverPermissions returns the policy of a server. When adding a permission, also add it to "the servers" in
// ops/access/permissions, from which the boundary of the role is built. Without ListBucket, S3 responds with 403
// instead of 404 for a missing object, and "no backup yet" would look like "denied". Servers have no access to
// versions, so that objects that a server overwrites or deletes in the backup bucket can be restored.
func serverPermissions(content, backup pulumi.StringInput) pulumi.Map {
	allow := func(id string, actions []string, resources ...pulumi.Input) pulumi.Map {
		return pulumi.Map{
			"Sid":      pulumi.String(id),
			"Effect":   pulumi.String("Allow"),
			"Action":   pulumi.ToStringArray(actions),
			"Resource": pulumi.Array(resources),
		}
	}
	return pulumi.Map{
		"Version": pulumi.String("2012-10-17"),
		"Statement": pulumi.Array{
			allow("List", []string{"s3:ListBucket"}, content, backup),
			allow("ReadContent", []string{"s3:GetObject"}, pulumi.Sprintf("%s/*", content)),
			allow("Backup", []string{"s3:GetObject", "s3:PutObject", "s3:DeleteObject"}, pulumi.Sprintf("%s/*", backup)),
		},
	}
}

// newSecurityGroup opens HTTP and HTTPS to everyone, and SSH to SSHAllowFrom.
func newSecurityGroup(
	ctx *pulumi.Context, name string, args *WebServerArgs, parent pulumi.ResourceOption,
) (*ec2.SecurityGroup, error) {
	everyone := pulumi.ToStringArray([]string{"0.0.0.0/0"})
	ingress := func(description string, port int, from pulumi.StringArray) *ec2.SecurityGroupIngressArgs {
		return &ec2.SecurityGroupIngressArgs{
			Description: pulumi.String(description),
			Protocol:    pulumi.String("tcp"),
			FromPort:    pulumi.Int(port),
			ToPort:      pulumi.Int(port),
			CidrBlocks:  from,
		}
	}
	egress := func(description string, port int) *ec2.SecurityGroupEgressArgs {
		return &ec2.SecurityGroupEgressArgs{
			Description: pulumi.String(description),
			Protocol:    pulumi.String("tcp"),
			FromPort:    pulumi.Int(port),
			ToPort:      pulumi.Int(port),
			CidrBlocks:  everyone,
		}
	}
	// The VPC's own resolver, time server and metadata service need no rule.
	out := ec2.SecurityGroupEgressArray{
		egress("Debian packages", 80),
		egress("S3, container images", 443),
	}
	if port := args.SMTPPort; args.SMTPHost != "" && port != 80 && port != 443 {
		// To everyone: rules need addresses, and the address of a relay may change.
		out = append(out, egress("Mail relay", port))
	}
	in := ec2.SecurityGroupIngressArray{
		ingress("HTTP", 80, everyone),
		ingress("HTTPS", 443, everyone),
	}
	if len(args.SSHAllowFrom) > 0 {
		in = append(in, ingress("SSH", args.SSHPort, pulumi.ToStringArray(args.SSHAllowFrom)))
	}
	rules := ec2.SecurityGroupIngressArrayInput(in)
	if args.SSHAllowFromSecret {
		// All rules are secret: AWS returns them in another order, and Pulumi marks secrets by position.
		rules = pulumi.ToSecret(in).(ec2.SecurityGroupIngressArrayOutput)
	}
	return ec2.NewSecurityGroup(ctx, name, &ec2.SecurityGroupArgs{
		Description: pulumi.String("The web server: HTTP, HTTPS and SSH"),
		VpcId:       args.Network.VpcID,
		Ingress:     rules,
		Egress:      out,
		// The security group is part of a server: an update in place could lock operators out of the active server, on behalf
		// of a new server that may never become ready.
	}, parent, pulumi.ReplaceOnChanges([]string{"ingress", "egress"}))
}
