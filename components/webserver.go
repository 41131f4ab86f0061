package components

import (
	"crypto/sha256"
	"fmt"
	"time"

	"github.com/pulumi/pulumi-aws/sdk/v6/go/aws/ec2"
	"github.com/pulumi/pulumi-aws/sdk/v6/go/aws/iam"
	"github.com/pulumi/pulumi-tls/sdk/v5/go/tls"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"immutable-infra/server"
)

const (
	// reportTime is kept back from the time that a step has, so that its report
	// of what went wrong comes before Pulumi gives up on it.
	reportTime = 30 * time.Second
	// reachTime is how long a server that is ready may be out of reach from outside.
	reachTime = 30 * time.Second
	// handoverTime is how long a new server waits for the one before it to hand over.
	handoverTime = 30 * time.Second
	// takeoverTime is how long it may take then to restore the last data and to
	// start collecting.
	takeoverTime = time.Minute
)

// ACME is an authority that issues certificates by the protocol of RFC 8555.
type ACME struct {
	// Directory is the URL of its directory.
	Directory string `pulumi:"directory"`
	// Email is where it may write to, and names the account there.
	Email string `pulumi:"email"`
	// Roots are its root certificates in PEM, RootsFile the path of a file with
	// the same on the machine that runs pulumi. Optional: by default, it is
	// one that every system trusts.
	Roots     string `pulumi:"roots"`
	RootsFile string `pulumi:"rootsFile"`
}

// Monitoring is what a server measures of itself, and who hears of it.
type Monitoring struct {
	// Retention is for how long it keeps that, as Prometheus writes it.
	// Defaulted: 90d.
	Retention string `pulumi:"retention"`
	// VictorOpsKey is the key of a REST integration. Optional: without it, nobody is told.
	VictorOpsKey string `pulumi:"victorOpsKey"`
	// VictorOpsRouting is the routing key. Defaulted: default.
	VictorOpsRouting string `pulumi:"victorOpsRouting"`
	// HeartbeatURL is the URL of a heartbeat monitor outside. Optional: without it, no heartbeat is sent.
	HeartbeatURL string `pulumi:"heartbeatURL"`
	// Grafana runs Grafana. Defaulted: false.
	Grafana bool `pulumi:"grafana"`
	// GitHubID, GitHubSecret and GitHubOrganizations say who may log in to Grafana.
	// Optional.
	GitHubID            string   `pulumi:"gitHubId"`
	GitHubSecret        string   `pulumi:"gitHubSecret"`
	GitHubOrganizations []string `pulumi:"gitHubOrganizations"`
}

// WebServerArgs are the arguments of a WebServer.
type WebServerArgs struct {
	// Network is where the server is.
	Network *Network `pulumi:"network"`
	// Content is where it takes the site from.
	Content *ContentBucket `pulumi:"content"`
	// Backup is what it may read and write.
	Backup *BackupBucket `pulumi:"backup"`
	// SshCA gives it its host key and certificate.
	SshCA *SshCA `pulumi:"sshCA"`
	// VIP is the address by which it knows whether it is the server that visitors see.
	VIP *VIP `pulumi:"vip"`

	// Bundle is what is shipped to the server and runs there.
	Bundle server.Bundle `pulumi:"bundle"`
	// Admins may log in and become root.
	Admins []server.Admin `pulumi:"admins"`
	// Domain is the site's name.
	Domain string `pulumi:"domain"`
	// Aliases are further names, which lead visitors to that one. Optional.
	Aliases []string `pulumi:"aliases"`
	// ACME says who issues the site's certificate.
	ACME ACME `pulumi:"acme"`
	// Monitoring says what is measured and who hears of it.
	Monitoring Monitoring `pulumi:"monitoring"`
	// HSTS is the value of the header Strict-Transport-Security. Optional: without it, there is none.
	HSTS string `pulumi:"hsts"`
	// Mail is the relay of PHP's mail(), the only one that the server reaches. Optional.
	Mail server.Mail `pulumi:"mail"`
	// PHPEgress lets the scripts of the site connect to others. Optional: they do not.
	PHPEgress bool `pulumi:"phpEgress"`
	// BackupInterval is how many seconds pass between two backups. Defaulted: 60.
	BackupInterval int `pulumi:"backupInterval"`
	// BackupRetention is for how many hours back one can be restored. Defaulted: 24.
	BackupRetention int `pulumi:"backupRetention"`
	// Region is the AWS region.
	Region string `pulumi:"region"`
	// AMI is the id of a Debian 13 image for the instance type's architecture.
	AMI string `pulumi:"ami"`
	// InstanceType is the EC2 instance type.
	InstanceType string `pulumi:"instanceType"`
	// SSHPort is the port of the SSH daemon.
	SSHPort int `pulumi:"sshPort"`
	// SSHAllowFrom are the CIDR blocks that reach the SSH port.
	SSHAllowFrom []string `pulumi:"sshAllowFrom"`
	// SSHAllowFromSecret keeps these blocks out of what previews show. Default: false.
	SSHAllowFromSecret bool `pulumi:"sshAllowFromSecret"`
	// ServerBoundary is the ARN of the permissions boundary of the servers' role. Optional.
	ServerBoundary string `pulumi:"serverBoundary"`

	// Generation forces a new server when it changes. Defaulted: 0.
	Generation int `pulumi:"generation"`
	// RootVolumeSize is in GiB. Defaulted: 20.
	RootVolumeSize int `pulumi:"rootVolumeSize"`
	// ReleasesKept is how many releases are kept beside the current one. Defaulted: 3.
	ReleasesKept int `pulumi:"releasesKept"`
	// ProvisioningTimeout is how many minutes the server has to boot, and again
	// how many it has to become ready then. Defaulted: 15.
	ProvisioningTimeout int `pulumi:"provisioningTimeout"`
}

func (args *WebServerArgs) complete() error {
	if args == nil {
		return errNoArgs
	}
	if args.RootVolumeSize == 0 {
		args.RootVolumeSize = 20
	}
	if args.ReleasesKept == 0 {
		args.ReleasesKept = 3
	}
	if args.Monitoring.Retention == "" {
		args.Monitoring.Retention = "90d"
	}
	if args.Monitoring.VictorOpsRouting == "" {
		args.Monitoring.VictorOpsRouting = "default"
	}
	if args.BackupInterval == 0 {
		args.BackupInterval = 60
	}
	if args.BackupRetention == 0 {
		args.BackupRetention = 24
	}
	if args.ProvisioningTimeout == 0 {
		args.ProvisioningTimeout = 15
	}
	return required(map[string]bool{
		"Network": args.Network != nil, "Content": args.Content != nil, "Backup": args.Backup != nil, "SshCA": args.SshCA != nil, "VIP": args.VIP != nil,
		"Bundle": args.Bundle.Path != "" && args.Bundle.Hash != "", "Admins": len(args.Admins) > 0, "Region": args.Region != "",
		"Domain": args.Domain != "", "ACME.Directory": args.ACME.Directory != "", "ACME.Email": args.ACME.Email != "",
		"AMI": args.AMI != "", "InstanceType": args.InstanceType != "", "SSHPort": args.SSHPort > 0, "SSHAllowFrom": len(args.SSHAllowFrom) > 0 || args.Network != nil && args.Network.RunnerGroup != nil,
	})
}

// WebServer is one server. It is never updated: whatever it is made of, a
// change of it makes a new one beside it.
type WebServer struct {
	pulumi.ResourceState

	// InstanceID is the id of the EC2 instance.
	InstanceID pulumi.IDOutput `pulumi:"instanceId"`
	// Ready is the step after which the VIP may move to it.
	Ready pulumi.Resource

	// domain and roots are how it is probed.
	domain, roots string
}

// NewWebServer makes a WebServer.
func NewWebServer(ctx *pulumi.Context, name string, args *WebServerArgs, opts ...pulumi.ResourceOption) (*WebServer, error) {
	if err := args.complete(); err != nil {
		return nil, fmt.Errorf("web server %s: %w", name, err)
	}
	web := &WebServer{domain: args.Domain, roots: args.ACME.RootsFile}
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

	// With a group for runners, the address that provisions is not known yet.
	bootstrapFrom := args.SSHAllowFrom
	if args.Network.RunnerGroup != nil {
		bootstrapFrom = nil
	}

	// Secret, whatever its inputs are: there are passwords in it.
	render := func(bootstrapKey pulumi.StringInput) pulumi.StringOutput {
		return pulumi.ToSecret(pulumi.All(
			args.SshCA.HostPrivateKey, args.SshCA.HostPublicKey, args.SshCA.HostCertificate,
			args.Content.Name, args.Backup.Name, args.VIP.Address, bootstrapKey,
		).ApplyT(func(values []any) (string, error) {
			return server.UserData(server.UserDataArgs{
				Admins:          args.Admins,
				SSHPort:         args.SSHPort,
				HostPrivateKey:  values[0].(string),
				HostPublicKey:   values[1].(string),
				HostCertificate: values[2].(string),
				BootstrapKey:    values[6].(string),
				BootstrapFrom:   bootstrapFrom,
				Environment: server.Environment{
					ContentBucket: values[3].(string),
					BackupBucket:  values[4].(string),
					VIP:           values[5].(string),
					Region:        args.Region,
					ReleasesKept:  args.ReleasesKept,
					Domain:        args.Domain,
					Aliases:       args.Aliases,
					ACMEDirectory: args.ACME.Directory,
					ACMEEmail:     args.ACME.Email,
					ACMECA:        args.ACME.Roots,

					Stack:           ctx.Stack(),
					BackupInterval:  fmt.Sprintf("%ds", args.BackupInterval),
					BackupRetention: fmt.Sprintf("%dh", args.BackupRetention),

					MetricsRetention: args.Monitoring.Retention,
					VictorOpsKey:     args.Monitoring.VictorOpsKey,
					VictorOpsRouting: args.Monitoring.VictorOpsRouting,
					HeartbeatURL:     args.Monitoring.HeartbeatURL,

					Grafana:                    args.Monitoring.Grafana,
					GrafanaGitHubID:            args.Monitoring.GitHubID,
					GrafanaGitHubSecret:        args.Monitoring.GitHubSecret,
					GrafanaGitHubOrganizations: args.Monitoring.GitHubOrganizations,

					HSTS:      args.HSTS,
					Mail:      args.Mail,
					PHPEgress: args.PHPEgress,
				},
				BundleHash: args.Bundle.Hash,
				Generation: args.Generation,
			})
		})).(pulumi.StringOutput)
	}

	// A key for the logins that set the server up. Whatever makes a new server
	// makes a new key: none is ever used for two.
	identity := pulumi.Unsecret(render(pulumi.String("")).ApplyT(func(userData string) string {
		return fmt.Sprintf("%x", sha256.Sum256(fmt.Appendf(nil, "%s %s %d %s", args.AMI, args.InstanceType, args.RootVolumeSize, userData)))
	}))
	key, err := tls.NewPrivateKey(ctx, name+"-bootstrap", &tls.PrivateKeyArgs{
		Algorithm: pulumi.String("ED25519"),
	}, parent, pulumi.ReplacementTrigger(identity))
	if err != nil {
		return nil, err
	}

	groups := pulumi.StringArray{firewall.ID()}
	if args.Network.RunnerGroup != nil {
		groups = append(groups, args.Network.RunnerGroup.ID())
	}
	instance, err := ec2.NewInstance(ctx, name, &ec2.InstanceArgs{
		Ami:                 pulumi.String(args.AMI),
		InstanceType:        pulumi.String(args.InstanceType),
		SubnetId:            args.Network.SubnetID,
		VpcSecurityGroupIds: groups,
		IamInstanceProfile:  profile.Name,
		UserData:            render(key.PublicKeyOpenssh),
		// The default is to stop the server, change it and start it again.
		UserDataReplaceOnChange: pulumi.Bool(true),
		// A server that nobody claims ends itself: see the server's boot files.
		InstanceInitiatedShutdownBehavior: pulumi.String("terminate"),
		// True, although the VIP comes later: with false, every refreshed plan
		// of an instance with an Elastic IP wants a replacement.
		AssociatePublicIpAddress: pulumi.Bool(true),
		MetadataOptions: &ec2.InstanceMetadataOptionsArgs{
			HttpTokens: pulumi.String("required"),
			// One hop: the server itself, and no container on it.
			HttpPutResponseHopLimit: pulumi.Int(1),
		},
		RootBlockDevice: &ec2.InstanceRootBlockDeviceArgs{
			Encrypted:           pulumi.Bool(true),
			VolumeType:          pulumi.String("gp3"),
			VolumeSize:          pulumi.Int(args.RootVolumeSize),
			DeleteOnTermination: pulumi.Bool(true),
		},
		// T4g instances start in unlimited mode otherwise, which can cost.
		CreditSpecification: &ec2.InstanceCreditSpecificationArgs{CpuCredits: pulumi.String("standard")},
		Tags:                tags(ctx, name),
	}, parent,
		pulumi.DependsOn(append([]pulumi.Resource{permissions, args.Content.Uploaded}, args.Network.Ready...)),
		// Everything that EC2 would change on the running server.
		pulumi.ReplaceOnChanges([]string{
			"instanceType", "vpcSecurityGroupIds", "iamInstanceProfile", "metadataOptions", "rootBlockDevice", "creditSpecification",
		}))
	if err != nil {
		return nil, err
	}

	ready, err := provision(ctx, name, args, instance, key)
	if err != nil {
		return nil, err
	}
	web.InstanceID = instance.ID()
	web.Ready = ready
	return web, ctx.RegisterResourceOutputs(web, pulumi.Map{"instanceId": web.InstanceID})
}

// provision waits until the server lets the program in, ships the bundle to it, sets it up until it
// is ready, probes it from outside, and has the server before it hand over.
func provision(ctx *pulumi.Context, name string, args *WebServerArgs, instance *ec2.Instance, key *tls.PrivateKey) (ready pulumi.Resource, err error) {
	connection := sshConnection{
		Host:       instance.PublicIp,
		Port:       args.SSHPort,
		User:       server.BootstrapUser,
		PrivateKey: key.PrivateKeyOpenssh,
		HostKey:    args.SshCA.HostPublicKey,
	}
	triggers := pulumi.Array{instance.ID()}
	timeout := time.Duration(args.ProvisioningTimeout) * time.Minute
	parent := pulumi.Parent(instance)

	loggedIn, err := newLogin(ctx, name+"-login", login{
		Connection: connection,
		Within:     timeout - reportTime,
		Triggers:   triggers,
	}, parent)
	if err != nil {
		return nil, err
	}
	bundle, err := newRemoteFile(ctx, name+"-bundle", connection, pulumi.NewFileAsset(args.Bundle.Path), server.BundleUploadPath, triggers,
		parent, serverLife(instance, timeout), pulumi.DependsOn([]pulumi.Resource{loggedIn}))
	if err != nil {
		return nil, err
	}
	provisioned, err := newRemoteCommand(ctx, name+"-provision", connection, server.ProvisionCommand(timeout-reportTime), triggers,
		parent, serverLife(instance, timeout), pulumi.DependsOn([]pulumi.Resource{bundle}))
	if err != nil {
		return nil, err
	}
	// The server has looked at itself from inside. Between it and its visitors
	// are its firewall and the network.
	reached, err := newProbe(ctx, name+"-reachable", probe{
		Name:    args.Domain,
		Address: instance.PublicIp,
		// The first server of all has none: an authority looks for it at the VIP.
		AnyCertificate: true,

		Server:   instance.ID(),
		Release:  args.Content.Release,
		Within:   reachTime,
		Triggers: triggers,
	}, parent, pulumi.DependsOn([]pulumi.Resource{provisioned}))
	if err != nil {
		return nil, err
	}
	return newRemoteCommand(ctx, name+"-handover", connection, server.HandoverCommand(handoverTime, handoverTime+takeoverTime), triggers,
		parent, serverLife(instance, handoverTime+takeoverTime), pulumi.DependsOn([]pulumi.Resource{reached}))
}

// newInstanceProfile makes the role of the servers, with all that they may do
// and nothing else. permissions is what must exist before a server uses it.
func newInstanceProfile(ctx *pulumi.Context, name string, args *WebServerArgs, parent pulumi.ResourceOption) (profile *iam.InstanceProfile, permissions *iam.RolePolicy, err error) {
	var boundary pulumi.StringPtrInput
	if args.ServerBoundary != "" {
		boundary = pulumi.String(args.ServerBoundary)
	}
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
		PermissionsBoundary: boundary,
		Tags:                tags(ctx, name),
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
		Tags: tags(ctx, name),
	}, parent)
	return profile, permissions, err
}

// rolePath is the path of what IAM has for the servers of a stack: by it, whoever deploys
// can be allowed to make roles for servers and no others.
func rolePath(ctx *pulumi.Context) pulumi.StringInput {
	return pulumi.Sprintf("/%s/%s/", ctx.Project(), ctx.Stack())
}

// serverPermissions are what a server may do. What is added here is added to "the servers" in
// bootstrap/access/permissions, too: the boundary of their role is made of that. Without ListBucket, S3 answers
// 403 instead of 404 for an object that is not there, and "no backup yet" would
// look like "denied". Versions are out of reach: what a server overwrites or
// deletes in the backup bucket can be brought back.
func serverPermissions(content, backup pulumi.StringOutput) pulumi.Map {
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

// newSecurityGroup opens the web's ports to everybody and SSH to those named.
func newSecurityGroup(ctx *pulumi.Context, name string, args *WebServerArgs, parent pulumi.ResourceOption) (*ec2.SecurityGroup, error) {
	everybody := pulumi.ToStringArray([]string{"0.0.0.0/0"})
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
			CidrBlocks:  everybody,
		}
	}
	// The VPC's own resolver, time server and metadata service need no rule.
	out := ec2.SecurityGroupEgressArray{
		egress("Debian packages", 80),
		egress("S3, container images", 443),
	}
	if port := args.Mail.Port; args.Mail.Host != "" && port != 80 && port != 443 {
		// To everybody: a group knows addresses, and a relay's change.
		out = append(out, egress("Mail relay", port))
	}
	in := ec2.SecurityGroupIngressArray{
		ingress("HTTP", 80, everybody),
		ingress("HTTPS", 443, everybody),
	}
	if len(args.SSHAllowFrom) > 0 {
		in = append(in, ingress("SSH", args.SSHPort, pulumi.ToStringArray(args.SSHAllowFrom)))
	}
	rules := ec2.SecurityGroupIngressArrayInput(in)
	if args.SSHAllowFromSecret {
		// All of them: AWS returns them in another order, by which Pulumi would take another one for the secret.
		rules = pulumi.ToSecret(in).(ec2.SecurityGroupIngressArrayOutput)
	}
	return ec2.NewSecurityGroup(ctx, name, &ec2.SecurityGroupArgs{
		Description: pulumi.String("The web server: HTTP, HTTPS and SSH"),
		VpcId:       args.Network.VpcID,
		Ingress:     rules,
		Egress:      out,
		Tags:        tags(ctx, name),
		// A server's firewall is part of it: changed in place, it could lock its
		// owner out of the server that is there, for the sake of one that may
		// never be.
	}, parent, pulumi.ReplaceOnChanges([]string{"ingress", "egress"}))
}
