package main

import (
	"cmp"
	"crypto/ed25519"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/pulumi/pulumi/sdk/v3/go/common/tokens"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/ssh"
	"gopkg.in/yaml.v3"

	"immutable-infra/internal/golden"
	"immutable-infra/server"
	"immutable-infra/stack"
)

// registered is a resource that the program registered.
type registered struct {
	Type, Name string
	Inputs     resource.PropertyMap
	Protect    bool
	// Replacing lists the inputs whose changes replace the resource, although the provider could update it.
	Replacing []string
	// Timeout bounds the creation.
	Timeout string
	// Ignored lists the inputs whose changes are ignored.
	Ignored []string
	// Parent is the URN of the parent, DependsOn lists the URNs of the dependencies.
	URN, Parent string
	DependsOn   []string
	// Aliases lists the URNs that the resource had in earlier versions of the program.
	Aliases []string
	// A change of Trigger replaces the resource. DeletedWith is the URN of the resource whose deletion includes this one.
	Trigger, DeletedWith string
}

// cloud stands in for the engine and the providers: it records registrations and responds with made-up ids.
type cloud struct {
	mutex     sync.Mutex
	resources []registered
}

func (c *cloud) NewResource(args pulumi.MockResourceArgs) (string, resource.PropertyMap, error) {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	parent := args.RegisterRPC.GetParent()
	c.resources = append(c.resources, registered{
		Type: args.TypeToken, Name: args.Name, Inputs: args.Inputs,
		Protect: args.RegisterRPC.GetProtect(), Replacing: args.RegisterRPC.GetReplaceOnChanges(),
		Timeout: args.RegisterRPC.GetCustomTimeouts().GetCreate(), Ignored: args.RegisterRPC.GetIgnoreChanges(),
		URN: urn(parent, args.TypeToken, args.Name), Parent: parent, DependsOn: args.RegisterRPC.GetDependencies(),
		Aliases: aliases(args),
		Trigger: args.RegisterRPC.GetReplacementTrigger().GetStringValue(), DeletedWith: args.RegisterRPC.GetDeletedWith(),
	})

	outputs := args.Inputs.Copy()
	set := func(name, value string) { outputs[resource.PropertyKey(name)] = resource.NewStringProperty(value) }
	set("arn", "arn:aws:mock:::"+args.Name)
	switch args.TypeToken {
	case "tls:index/privateKey:PrivateKey":
		private, public, err := mockKey(args.Name)
		if err != nil {
			return "", nil, err
		}
		outputs["privateKeyOpenssh"] = resource.MakeSecret(resource.NewStringProperty(private))
		set("publicKeyOpenssh", public)
	case "aws:s3/bucketV2:BucketV2":
		set("bucket", args.Name+"-bucket")
		set("arn", "arn:aws:s3:::"+args.Name+"-bucket")
	case "aws:ec2/eip:Eip":
		set("publicIp", "198.51.100.7")
		set("allocationId", "eipalloc-1")
	case "aws:ec2/instance:Instance":
		set("publicIp", "198.51.100.8")
	case "aws:iam/role:Role", "aws:iam/instanceProfile:InstanceProfile":
		set("name", args.Name)
	case "command:local:Command":
		set("stdout", "0123456789abcdef\n")
	}
	return args.Name + "-id", outputs, nil
}

// aliases returns the URNs of a registration's aliases.
func aliases(args pulumi.MockResourceArgs) []string {
	urns := slices.Clone(args.RegisterRPC.GetAliasURNs())
	for _, alias := range args.RegisterRPC.GetAliases() {
		spec := alias.GetSpec()
		parent := cmp.Or(spec.GetParentUrn(), args.RegisterRPC.GetParent())
		urns = append(urns, urn(parent, cmp.Or(spec.GetType(), args.TypeToken), cmp.Or(spec.GetName(), args.Name)))
	}
	return urns
}

func urn(parent, kind, name string) string {
	parentURN := resource.URN(parent)
	parentType := parentURN.QualifiedType()
	if parentType == resource.RootStackType {
		parentType = ""
	}
	return string(resource.NewURN(parentURN.Stack(), parentURN.Project(), parentType, tokens.Type(kind), name))
}

func (c *cloud) Call(args pulumi.MockCallArgs) (resource.PropertyMap, error) {
	if args.Token == "aws:ec2/getInstanceTypeOfferings:getInstanceTypeOfferings" {
		return resource.NewPropertyMapFromMap(map[string]any{"locations": []string{"eu-central-1b", "us-east-1a"}}), nil
	}
	return nil, fmt.Errorf("the program is not expected to call %s", args.Token)
}

func mockKey(name string) (private, public string, err error) {
	seed := make([]byte, ed25519.SeedSize)
	copy(seed, name)
	key := ed25519.NewKeyFromSeed(seed)
	block, err := ssh.MarshalPrivateKey(key, "")
	if err != nil {
		return "", "", err
	}
	// Clear the two random check integers of OpenSSH's format, so that the same key has the same text.
	clear(block.Bytes[98:106])
	half, err := ssh.NewPublicKey(key.Public())
	if err != nil {
		return "", "", err
	}
	return string(pem.EncodeToMemory(block)), string(ssh.MarshalAuthorizedKey(half)), nil
}

// deployed returns the resources of a stack with the repository's configuration, modified by change.
func deployed(t *testing.T, stackName string, change ...func(values map[string]string)) []registered {
	t.Helper()
	return deployedWith(t, stackName, nil, change...)
}

// deployedWith is deployed with drift at UptimeRobot.
func deployedWith(
	t *testing.T, stackName string, drift []string, change ...func(values map[string]string),
) []registered {
	t.Helper()
	return deployedFrom(t, stackName, drift, nil, change...)
}

// deployedFrom is deployedWith for a configuration in which some keys are encrypted.
func deployedFrom(
	t *testing.T, stackName string, drift, encrypted []string, change ...func(values map[string]string),
) []registered {
	t.Helper()
	values := configured(t, stackName)
	for _, c := range change {
		c(values)
	}
	config, err := stack.Parse(values)
	require.NoError(t, err)

	mocks := &cloud{}
	err = pulumi.RunErr(func(ctx *pulumi.Context) error {
		return deploy(ctx, config, server.Bundle{Path: "main_test.go", Hash: strings.Repeat("0", 64)}, drift)
	}, pulumi.WithMocks("immutable-infra", stackName, mocks),
		func(info *pulumi.RunInfo) { info.ConfigSecretKeys = encrypted })
	require.NoError(t, err)
	again, err := stack.Parse(values)
	require.NoError(t, err)
	require.Equal(t, again, config, "a component modified its arguments")
	return mocks.resources
}

// configured returns the repository's configuration of a stack, in the form in which Pulumi passes it to the program.
func configured(t *testing.T, stackName string) map[string]string {
	t.Helper()
	content, err := os.ReadFile("Pulumi." + stackName + ".yaml")
	require.NoError(t, err)
	var file struct{ Config map[string]any }
	require.NoError(t, yaml.Unmarshal(content, &file))
	values := map[string]string{}
	for key, value := range file.Config {
		key = strings.TrimPrefix(key, "immutable-infra:")
		if text, ok := value.(string); ok {
			values[key] = text
			continue
		}
		encoded, err := json.Marshal(value)
		require.NoError(t, err)
		values[key] = string(encoded)
	}
	if stackName == "local" {
		_, public, err := mockKey("admin")
		require.NoError(t, err)
		values["admins"] = fmt.Sprintf(`[{"name": "admin", "keys": [%q]}]`, public)
		values["acmeCA"] = ""
		values["victorOpsKey"] = "01234567-89ab-cdef-0123-456789abcdef"
		values["heartbeatURL"] = "https://uptimerobot.localcloud.test/heartbeat/m1"
		withUptimeRobot(values)
	}
	return values
}

const (
	robotKey     = "u1234567-0123456789abcdef01234567"
	robotWebhook = "https://alert.victorops.com/integrations/uptimerobot/20131114/alert/" +
		"76543210-89ab-cdef-0123-456789abcdef/site"
)

// withUptimeRobot configures UptimeRobot.
func withUptimeRobot(values map[string]string) {
	values["uptimeRobotKey"], values["uptimeRobotWebhook"] = robotKey, robotWebhook
}

func TestUptimeRobotGetsItsMonitorsAndSecretsStaySecret(t *testing.T) {
	resources := deployed(t, "production", withUptimeRobot)
	command := find(t, resources, "command:local:Command", "uptime-robot")
	environment := command.Inputs["environment"].ObjectValue()
	require.Equal(t, "https://api.uptimerobot.com/v3", environment["UPTIMEROBOT_API"].StringValue())
	require.JSONEq(t, `{
		"monitors": [
			{"key": "site", "name": "example.org", "url": "https://example.org/.well-known/release",
				"keyword": "\"release\"", "interval": 300, "timeout": 30},
			{"key": "monitoring", "name": "monitoring.example.org", "url": "https://monitoring.example.org/api/health",
				"interval": 300, "timeout": 30}
		],
		"contact": "VictorOps: example.org",
		"page": {"name": "example.org", "domain": "status.example.org"}
	}`, environment["UPTIMEROBOT_DESIRED"].StringValue())
	stdin := command.Inputs["stdin"]
	require.True(t, stdin.ContainsSecrets())
	for stdin.IsSecret() || stdin.IsOutput() {
		if stdin.IsSecret() {
			stdin = stdin.SecretValue().Element
		} else {
			stdin = stdin.OutputValue().Element
		}
	}
	require.JSONEq(t, fmt.Sprintf(`{"key": %q, "webhook": %q}`, robotKey, robotWebhook+"?"), stdin.StringValue())
	for _, r := range resources {
		for key, value := range r.Inputs {
			for _, secret := range []string{robotKey, robotWebhook, "76543210-89ab"} {
				require.NotContains(t, plainText(value), secret, "%s %s: the input %s", r.Type, r.Name, key)
			}
		}
	}
	record := find(t, resources, "aws:route53/record:Record", "dns-status.example.org-cname")
	require.Equal(t, "stats.uptimerobot.com.", record.Inputs["records"].ArrayValue()[0].StringValue())
}

func TestDriftAtUptimeRobotIsCorrectedOnce(t *testing.T) {
	seen := func(resources []registered) (differences string, ignored []string) {
		command := find(t, resources, "command:local:Command", "uptime-robot")
		return command.Inputs["environment"].ObjectValue()["DIFFERENCES"].StringValue(), command.Ignored
	}
	differences, ignored := seen(deployed(t, "production", withUptimeRobot))
	require.Empty(t, differences)
	require.Equal(t, []string{"environment.DIFFERENCES"}, ignored, "corrected drift is no change")

	missing := []string{`there is no monitor "example.org"`}
	differences, ignored = seen(deployedWith(t, "production", missing, withUptimeRobot))
	require.Contains(t, differences, missing[0])
	require.Empty(t, ignored)
	again, _ := seen(deployedWith(t, "production", missing, withUptimeRobot))
	require.NotEqual(t, differences, again, "the same drift again is another change")
}

func TestNothingIsCreatedWithoutAKeyOfUptimeRobot(t *testing.T) {
	for name, change := range map[string]func(map[string]string){
		"no key":         func(map[string]string) {},
		"no status page": func(values map[string]string) { withUptimeRobot(values); values["statusPage"] = "false" },
	} {
		for _, r := range deployed(t, "production", change) {
			require.NotContains(t, r.Name, "status.", name)
			require.False(t, name == "no key" && r.Name == "uptime-robot", "a command is run without a key")
		}
	}
}

func TestDNSRecordsFollowTheVIPAndNothingElse(t *testing.T) {
	for _, stackName := range []string{"production", "test", "local"} {
		var lines []string
		for _, r := range deployed(t, stackName) {
			if r.Type != "aws:route53/record:Record" {
				continue
			}
			line := fmt.Sprintf("%s %s %.0f", r.Inputs["name"].StringValue(), r.Inputs["type"].StringValue(),
				r.Inputs["ttl"].NumberValue())
			for _, value := range r.Inputs["records"].ArrayValue() {
				line += " " + value.StringValue()
			}
			lines = append(lines, line)
		}
		slices.Sort(lines)
		golden.Equal(t, "dns-"+stackName+".txt", strings.Join(append(lines, ""), "\n"))
	}
}

func find(t *testing.T, resources []registered, kind, name string) registered {
	t.Helper()
	i := slices.IndexFunc(resources, func(r registered) bool { return r.Type == kind && (name == "" || r.Name == name) })
	require.GreaterOrEqual(t, i, 0, "there is no %s %s", kind, name)
	return resources[i]
}

func TestTheResourcesOfEachStackAreAsReviewed(t *testing.T) {
	for _, stackName := range []string{"production", "test", "local"} {
		var lines []string
		for _, r := range deployed(t, stackName) {
			line := r.Type + " " + r.Name
			if r.Protect {
				line += " (protected)"
			}
			lines = append(lines, line)
		}
		slices.Sort(lines)
		golden.Equal(t, "resources-"+stackName+".txt", strings.Join(lines, "\n")+"\n")
	}
}

func TestSSHIsOpenToConfiguredBlocksOnly(t *testing.T) {
	group := find(t, deployed(t, "production"), "aws:ec2/securityGroup:SecurityGroup", "web")
	open := map[float64]string{}
	for _, rule := range group.Inputs["ingress"].ArrayValue() {
		rule := rule.ObjectValue()
		require.Equal(t, "tcp", rule["protocol"].StringValue())
		require.Equal(t, rule["fromPort"], rule["toPort"])
		require.Len(t, rule["cidrBlocks"].ArrayValue(), 1)
		open[rule["fromPort"].NumberValue()] = rule["cidrBlocks"].ArrayValue()[0].StringValue()
	}
	require.Equal(t, map[float64]string{80: "0.0.0.0/0", 443: "0.0.0.0/0", 12222: "192.0.2.7/32"}, open)

	require.Equal(t, []float64{80, 443}, egress(t, deployed(t, "production")))
}

// egress returns the ports that a server can reach.
func egress(t *testing.T, resources []registered) []float64 {
	t.Helper()
	var ports []float64
	for _, rule := range find(t, resources, "aws:ec2/securityGroup:SecurityGroup", "web").Inputs["egress"].ArrayValue() {
		rule := rule.ObjectValue()
		require.Equal(t, "tcp", rule["protocol"].StringValue())
		require.Equal(t, rule["fromPort"], rule["toPort"])
		ports = append(ports, rule["toPort"].NumberValue())
	}
	return ports
}

func TestServerReachesTheConfiguredMailRelayAndItsPasswordIsSecret(t *testing.T) {
	const password = "correct horse"
	relay := func(port string) []registered {
		return deployed(t, "production", func(values map[string]string) {
			values["smtpHost"], values["smtpPort"], values["smtpUser"], values["smtpPassword"] = "smtp.example.org", port,
				"site", password
			values["dnsRecords"] = "[]" // one of them forbids all mail
		})
	}
	require.Equal(t, []float64{80, 443, 465}, egress(t, relay("465")))
	require.Equal(t, []float64{80, 443}, egress(t, relay("443")), "EC2 rejects duplicate rules")
	resources := relay("587")
	require.Equal(t, []float64{80, 443, 587}, egress(t, resources))

	userData := find(t, resources, "aws:ec2/instance:Instance", "web").Inputs["userData"]
	require.True(t, userData.ContainsSecrets())
	require.Contains(t, fmt.Sprint(userData), password)
	for _, r := range resources {
		for key, value := range r.Inputs {
			require.NotContains(t, plainText(value), password, "%s %s: the input %s", r.Type, r.Name, key)
		}
	}
}

func TestWithoutGrafanaItsNameIsUnused(t *testing.T) {
	for _, r := range deployed(t, "production",
		func(values map[string]string) { values["grafana"] = "false"; withUptimeRobot(values) }) {
		require.NotContains(t, r.Name, "monitoring.")
		for key, value := range r.Inputs {
			require.NotContains(t, fmt.Sprint(value), "monitoring.example.org", "%s %s: the input %s", r.Type, r.Name, key)
		}
	}
}

func TestTheServersMetadataIsOutOfReachForItsContainers(t *testing.T) {
	options := find(t, deployed(t, "production"), "aws:ec2/instance:Instance",
		"web").Inputs["metadataOptions"].ObjectValue()
	require.Equal(t, "required", options["httpTokens"].StringValue())
	require.Equal(t, 1.0, options["httpPutResponseHopLimit"].NumberValue())
}

func TestServersVolumeIsEncryptedAndDeletedWithIt(t *testing.T) {
	instance := find(t, deployed(t, "production"), "aws:ec2/instance:Instance", "web").Inputs
	volume := instance["rootBlockDevice"].ObjectValue()
	require.True(t, volume["encrypted"].BoolValue())
	require.True(t, volume["deleteOnTermination"].BoolValue())
	require.Equal(t, "gp3", volume["volumeType"].StringValue())
	require.Equal(t, "standard", instance["creditSpecification"].ObjectValue()["cpuCredits"].StringValue())
	require.True(t, instance["userDataReplaceOnChange"].BoolValue())
}

func TestServerIsNeverUpdatedInPlace(t *testing.T) {
	resources := deployed(t, "production")
	require.ElementsMatch(t,
		[]string{
			"instanceType", "vpcSecurityGroupIds", "iamInstanceProfile", "metadataOptions", "rootBlockDevice",
			"creditSpecification", "tags.Failed",
		},
		find(t, resources, "aws:ec2/instance:Instance", "web").Replacing)
	require.ElementsMatch(t, []string{"ingress", "egress"},
		find(t, resources, "aws:ec2/securityGroup:SecurityGroup", "web").Replacing)
	require.Equal(t, []string{"vpcId"}, find(t, resources, "aws:ec2/internetGateway:InternetGateway", "network").Replacing)
}

func TestServerThatIsNotReadyReportsBeforePulumiTimesOut(t *testing.T) {
	provision := find(t, deployed(t, "production"), "command:remote:Command", "web-provision")
	require.Equal(t, "15m0s", provision.Timeout)
	require.Contains(t, provision.Inputs["create"].StringValue(), "sudo /opt/site/bounded provision 870 20 ",
		"half a minute less than 15")
}

func TestLoginProbeComesBeforeTheProviderConnects(t *testing.T) {
	login := find(t, deployed(t, "production"), "command:local:Command", "web-login")
	environment := login.Inputs["environment"].ObjectValue()
	require.Equal(t, "198.51.100.8:12222", environment["SSHPROBE_ADDRESS"].StringValue())
	require.Equal(t, "14m30s", environment["SSHPROBE_WITHIN"].StringValue())
	require.Equal(t, "17m0s", login.Timeout, "the probe is compiled first, and ends by itself")
	require.True(t, login.Inputs["stdin"].IsSecret(), "the private key")
	require.Contains(t, login.Ignored, "stdin")
	require.Contains(t, login.Ignored, "environment")
}

func TestVIPMovesOnlyToAServerProbedFromOutside(t *testing.T) {
	resources := deployed(t, "production")
	for name, expected := range map[string]struct{ address, certificate string }{
		"web-reachable":  {"198.51.100.8", "any"},
		"cutover-verify": {"198.51.100.7", "valid"},
	} {
		probe := find(t, resources, "command:local:Command", name).Inputs["environment"].ObjectValue()
		require.Equal(t, "example.org", probe["NAME"].StringValue(), name)
		require.Equal(t, expected.address, probe["ADDRESS"].StringValue(), name)
		require.Equal(t, "443", probe["PORT"].StringValue(), "%s must not use a port from the deployer's environment", name)
		require.Equal(t, expected.certificate, probe["CERTIFICATE"].StringValue(), name)
		require.Equal(t, "web-id", probe["SERVER"].StringValue(), name)
		require.Equal(t, "0123456789abcdef", probe["RELEASE"].StringValue(), name)
	}
	// An update of only the content ends when the server that holds the VIP serves it.
	triggers := find(t, resources, "command:local:Command", "cutover-verify").Inputs["triggers"].ArrayValue()
	require.Len(t, triggers, 2)
	require.Equal(t, "0123456789abcdef", triggers[1].StringValue())
	// Resources are registered in the order of their dependencies, and one at a time with the mocks.
	var order []string
	for _, r := range resources {
		switch r.Name {
		case "web-login", "web-bundle", "web-provision", "web-reachable", "web-handover", "cutover-verify":
			order = append(order, r.Name)
		case "cutover":
			if r.Type == "aws:ec2/eipAssociation:EipAssociation" {
				order = append(order, "move")
			}
		}
	}
	require.Equal(t, []string{
		"web-login", "web-bundle", "web-provision", "web-reachable", "web-handover", "move", "cutover-verify",
	}, order)
}

func TestBucketsAreEncryptedVersionedPrivateAndTLSOnly(t *testing.T) {
	resources := deployed(t, "production")
	for _, bucket := range []string{"content", "backup"} {
		block := find(t, resources, "aws:s3/bucketPublicAccessBlock:BucketPublicAccessBlock", bucket).Inputs
		for _, setting := range []string{
			"blockPublicAcls", "blockPublicPolicy", "ignorePublicAcls", "restrictPublicBuckets",
		} {
			require.True(t, block[resource.PropertyKey(setting)].BoolValue(), "%s of %s", setting, bucket)
		}
		encryption := find(t, resources,
			"aws:s3/bucketServerSideEncryptionConfigurationV2:BucketServerSideEncryptionConfigurationV2", bucket).Inputs
		require.Contains(t, encryption["rules"].String(), "AES256")
		versioning := find(t, resources, "aws:s3/bucketVersioningV2:BucketVersioningV2", bucket).Inputs
		require.Equal(t, "Enabled", versioning["versioningConfiguration"].ObjectValue()["status"].StringValue())
		ownership := find(t, resources, "aws:s3/bucketOwnershipControls:BucketOwnershipControls", bucket).Inputs
		require.Equal(t, "BucketOwnerEnforced", ownership["rule"].ObjectValue()["objectOwnership"].StringValue())
		policy := find(t, resources, "aws:s3/bucketPolicy:BucketPolicy", bucket).Inputs["policy"].StringValue()
		require.JSONEq(t, fmt.Sprintf(`{"Version": "2012-10-17", "Statement": [{
			"Sid": "TLSOnly", "Effect": "Deny", "Principal": "*", "Action": "s3:*",
			"Resource": ["arn:aws:s3:::%[1]s-bucket", "arn:aws:s3:::%[1]s-bucket/*"],
			"Condition": {"Bool": {"aws:SecureTransport": "false"}}}]}`, bucket), policy)
		require.NotEmpty(t,
			find(t, resources, "aws:s3/bucketLifecycleConfigurationV2:BucketLifecycleConfigurationV2",
				bucket).Inputs["rules"].ArrayValue())
	}
	require.False(t, find(t, resources, "aws:s3/bucketV2:BucketV2", "backup").Inputs["forceDestroy"].BoolValue())
}

func TestSiteCommandsDoNotNeedTheSiteDirectory(t *testing.T) {
	resources := deployed(t, "local")
	for _, name := range []string{"content-build", "content-sync"} {
		command := find(t, resources, "command:local:Command", name)
		require.NotContains(t, command.Inputs, resource.PropertyKey("dir"),
			"only the project's directory is sure to exist at a deletion")
		require.Equal(t, ":", command.Inputs["delete"].StringValue())
		environment := command.Inputs["environment"].ObjectValue()
		require.Equal(t, "site", environment["SITE_DIR"].StringValue())
		require.Equal(t, "local", environment["STACK"].StringValue())
	}
}

// A bucket's name is its prefix and a generated suffix, so that no two stacks can use the same bucket.
func TestTwoStacksNeverShareABucket(t *testing.T) {
	prefixes := map[string]string{}
	for _, stackName := range []string{"production", "test"} {
		resources := deployed(t, stackName)
		own := map[string]bool{}
		for _, r := range resources {
			if r.Type != "aws:s3/bucketV2:BucketV2" {
				continue
			}
			own[r.Name+"-id"] = true
			require.NotContains(t, r.Inputs, resource.PropertyKey("bucket"), "%s: a name that another stack could have", r.Name)
			prefix := r.Inputs["bucketPrefix"].StringValue()
			require.True(t, strings.HasPrefix(prefix, stackName+"-"), prefix)
			require.Empty(t, prefixes[prefix], "%s begins the names of two buckets", prefix)
			prefixes[prefix] = stackName
		}
		require.Len(t, own, 2, stackName)
		// Only buckets that the stack created are used.
		for _, r := range resources {
			if bucket, ok := r.Inputs["bucket"]; ok && strings.HasPrefix(r.Type, "aws:s3/") {
				require.True(t, own[bucket.StringValue()], "%s %s: %s", r.Type, r.Name, bucket)
			}
		}
	}
	require.Len(t, prefixes, 4)
}

func TestDeletedHistoryExpiresAfterDays(t *testing.T) {
	rules := find(t, deployed(t, "production"), "aws:s3/bucketLifecycleConfigurationV2:BucketLifecycleConfigurationV2",
		"backup").Inputs["rules"].ArrayValue()
	kept := map[string]bool{}
	for _, rule := range rules {
		expiration := rule.ObjectValue()["noncurrentVersionExpiration"].ObjectValue()
		require.EqualValues(t, 30, expiration["noncurrentDays"].NumberValue())
		require.True(t, rule.ObjectValue()["expiration"].ObjectValue()["expiredObjectDeleteMarker"].BoolValue())
		kept[rule.ObjectValue()["filter"].ObjectValue()["prefix"].StringValue()] = expiration.HasValue(
			"newerNoncurrentVersions",
		)
	}
	// Keys of the history are never reused: the deleted version of each would be the newest noncurrent one forever.
	require.Equal(t, map[string]bool{"": true, "history/": false}, kept)
}

func TestServersHaveOnlyThePermissionsTheyNeed(t *testing.T) {
	resources := deployed(t, "production")
	var roles []string
	for _, r := range resources {
		if strings.HasPrefix(r.Type, "aws:iam/") {
			roles = append(roles, r.Type+" "+r.Name)
		}
	}
	slices.Sort(roles)
	require.Equal(t, []string{
		"aws:iam/instanceProfile:InstanceProfile web", "aws:iam/role:Role web", "aws:iam/rolePolicy:RolePolicy web",
	}, roles)
	require.JSONEq(t, `{"Version": "2012-10-17", "Statement": [
		{"Sid": "List", "Effect": "Allow", "Action": ["s3:ListBucket"],
			"Resource": ["arn:aws:s3:::content-bucket", "arn:aws:s3:::backup-bucket"]},
		{"Sid": "ReadContent", "Effect": "Allow", "Action": ["s3:GetObject"], "Resource": ["arn:aws:s3:::content-bucket/*"]},
		{"Sid": "Backup", "Effect": "Allow", "Action": ["s3:GetObject", "s3:PutObject", "s3:DeleteObject"],
			"Resource": ["arn:aws:s3:::backup-bucket/*"]}
	]}`, find(t, resources, "aws:iam/rolePolicy:RolePolicy", "web").Inputs["policy"].StringValue())
}

func TestDeployingMachineIsAdmittedByItsOwnSecurityGroup(t *testing.T) {
	fromRunner := func(values map[string]string) { values["sshFromRunner"] = "true" }
	const ruleType = "aws:ec2/securityGroupRule:SecurityGroupRule"
	t.Setenv("SSH_FROM", "")
	closed := deployed(t, "production", fromRunner)
	require.False(t, slices.ContainsFunc(closed, func(r registered) bool { return r.Type == ruleType }))
	require.NotContains(t, find(t, closed, "aws:ec2/securityGroup:SecurityGroup", "network-runner").Inputs,
		resource.PropertyKey("ingress"), "rules of two resources would undo each other")
	require.Len(t, find(t, closed, "aws:ec2/instance:Instance", "web").Inputs["vpcSecurityGroupIds"].ArrayValue(), 2)

	t.Setenv("SSH_FROM", "203.0.113.7/32")
	open := deployed(t, "production", fromRunner)
	rule := find(t, open, ruleType, "network-runner-ssh")
	require.EqualValues(t, 12222, rule.Inputs["fromPort"].NumberValue())
	require.EqualValues(t, 12222, rule.Inputs["toPort"].NumberValue())
	blocks := rule.Inputs["cidrBlocks"]
	require.True(t, blocks.ContainsSecrets(), "a preview shows whose address it is")
	for blocks.IsSecret() || blocks.IsOutput() {
		if blocks.IsSecret() {
			blocks = blocks.SecretValue().Element
		} else {
			blocks = blocks.OutputValue().Element
		}
	}
	require.Equal(t, "203.0.113.7/32", blocks.ArrayValue()[0].StringValue())
	for _, r := range open {
		require.NotContains(t, r.DependsOn, rule.URN,
			"%s: deploy.sh deletes the rule, and after a failed update its dependents with it", r.Name)
	}
	t.Setenv("SSH_FROM", "0.0.0.0/0")
	values := configured(t, "production")
	fromRunner(values)
	_, err := stack.Parse(values)
	require.ErrorContains(t, err, "not the address of one machine")

	for _, r := range deployed(t, "production") {
		require.NotEqual(t, "network-runner", r.Name, "not configured")
	}
}

func TestBootstrapLoginIsAcceptedFromKnownAddresses(t *testing.T) {
	userData := func(change func(values map[string]string)) string {
		return fmt.Sprint(find(t, deployed(t, "production", change), "aws:ec2/instance:Instance", "web").Inputs["userData"])
	}
	require.Contains(t, userData(func(values map[string]string) { values["sshAllowFrom"] = `["192.0.2.7/32"]` }),
		`from="192.0.2.7/32" `)
	require.NotContains(t, userData(func(values map[string]string) { values["sshFromRunner"] = "true" }), "from=\"",
		"a runner's address is not known yet")
}

func TestScriptsConnectToOtherHostsIfConfigured(t *testing.T) {
	for value, internal := range map[string]string{"false": "PHP_INTERNAL=true\n", "true": "PHP_INTERNAL=false\n"} {
		resources := deployed(t, "production", func(values map[string]string) { values["phpEgress"] = value })
		require.Contains(t, fmt.Sprint(find(t, resources, "aws:ec2/instance:Instance", "web").Inputs["userData"]), internal)
	}
}

func TestServersRoleNeedsNothingBeyondItsBoundary(t *testing.T) {
	type statement struct {
		Effect           string
		Action, Resource []string
	}
	var boundary, policy struct{ Statement []statement }
	const arn = "arn:aws:iam::123456789012:policy/immutable-infra-server-production"
	resources := deployed(t, "production", func(values map[string]string) { values["serverBoundary"] = arn })
	require.Equal(t, arn, find(t, resources, "aws:iam/role:Role", "web").Inputs["permissionsBoundary"].StringValue())
	require.NotContains(t, find(t, deployed(t, "production"), "aws:iam/role:Role", "web").Inputs,
		resource.PropertyKey("permissionsBoundary"))

	text, err := os.ReadFile("ops/access/permissions/testdata/server-production.json")
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(text, &boundary))
	given := find(t, resources, "aws:iam/rolePolicy:RolePolicy", "web").Inputs["policy"].StringValue()
	require.NoError(t,
		json.Unmarshal([]byte(strings.NewReplacer("arn:aws:s3:::content-bucket", "arn:aws:s3:::production-content-1",
			"arn:aws:s3:::backup-bucket", "arn:aws:s3:::production-backup-1").Replace(given)), &policy))
	for _, wanted := range policy.Statement {
		for _, action := range wanted.Action {
			for _, target := range wanted.Resource {
				bucket, _, objects := strings.Cut(target, "/")
				allowed := slices.ContainsFunc(boundary.Statement, func(limit statement) bool {
					return limit.Effect == "Allow" && slices.Contains(limit.Action, action) &&
						slices.ContainsFunc(limit.Resource, func(pattern string) bool {
							within, _, of := strings.Cut(pattern, "/")
							return of == objects && strings.HasPrefix(bucket, strings.TrimSuffix(within, "*"))
						})
				})
				require.True(t, allowed, "%s on %s: add it to the table in ops/access/permissions", action, target)
			}
		}
	}
}

func TestNoPrivateKeyIsInAPlainInput(t *testing.T) {
	marked := 0
	for _, r := range deployed(t, "production") {
		for key, value := range r.Inputs {
			if plain := plainText(value); strings.Contains(plain, "PRIVATE KEY") {
				t.Errorf("%s %s: the input %s holds a private key in plain text", r.Type, r.Name, key)
			}
			if value.ContainsSecrets() {
				marked++
			}
		}
	}
	require.GreaterOrEqual(t, marked, 3, "user data and two connections are secret; if none is, this test sees nothing")
}

// Comments and logs of a public repository contain the output of previews.
func TestPreviewsShowNoAddress(t *testing.T) {
	shown := func(encrypted ...string) string {
		var all strings.Builder
		for _, r := range deployedFrom(t, "production", nil, encrypted) {
			for _, value := range r.Inputs {
				all.WriteString(plainText(value))
			}
		}
		return all.String()
	}
	plain, private := shown(), shown("immutable-infra:sshAllowFrom")
	require.Contains(t, plain, "192.0.2.7/32", "a review shows the admitted addresses, unless they are encrypted")
	require.NotContains(t, private, "192.0.2.7")
	require.Contains(t, private, "0.0.0.0/0")
	for _, private := range []string{"admin@example.org", "AAAAC3NzaC1lZDI1NTE5AAAAIJU2"} {
		require.NotContains(t, plain, private)
	}
}

// plainText returns the parts of a value that are not secret.
func plainText(value resource.PropertyValue) string {
	switch {
	case value.IsSecret():
		return ""
	case value.IsOutput():
		if value.OutputValue().Secret {
			return ""
		}
		return plainText(value.OutputValue().Element)
	case value.IsArray():
		var all strings.Builder
		for _, element := range value.ArrayValue() {
			all.WriteString(plainText(element))
		}
		return all.String()
	case value.IsObject():
		var all strings.Builder
		for _, element := range value.ObjectValue() {
			all.WriteString(plainText(element))
		}
		return all.String()
	case value.IsString():
		return value.StringValue()
	}
	return ""
}

func TestEveryConnectionToAServerPinsItsHostKey(t *testing.T) {
	connections := 0
	for _, r := range deployed(t, "production") {
		connection, ok := r.Inputs["connection"]
		if !ok {
			continue
		}
		connections++
		for connection.IsSecret() || connection.IsOutput() {
			if connection.IsSecret() {
				connection = connection.SecretValue().Element
			} else {
				connection = connection.OutputValue().Element
			}
		}
		require.True(t, strings.HasPrefix(connection.ObjectValue()["hostKey"].StringValue(), "ssh-ed25519 "), r.Name)
	}
	require.Equal(t, 3, connections)
}

func TestStackPageUsesOnlyOutputsThatEveryStackHas(t *testing.T) {
	source, err := os.ReadFile("main.go")
	require.NoError(t, err)
	exported := map[string]bool{}
	// One tab of indentation: not in an if.
	for _, match := range regexp.MustCompile(`(?m)^\tctx\.Export\("(\w+)"`).FindAllStringSubmatch(string(source), -1) {
		exported[match[1]] = true
	}
	require.True(t, exported["readme"], "Pulumi Cloud reads the page from this output")
	named := regexp.MustCompile(`\$\{(.*?)\}`).FindAllStringSubmatch(readme, -1)
	require.NotEmpty(t, named)
	for _, match := range named {
		name, ok := strings.CutPrefix(match[1], "outputs.")
		require.True(t, ok, match[0])
		require.True(t, exported[name], match[0])
	}
}

// Before the engine reaches a protected resource, it may delete every resource that no protected one depends on.
func TestNoResourceOfAProtectedStackCanBeDeleted(t *testing.T) {
	for name, change := range map[string]func(map[string]string){
		"with UptimeRobot":    withUptimeRobot,
		"without UptimeRobot": func(map[string]string) {},
		"without a zone":      func(values map[string]string) { delete(values, "zoneId"); delete(values, "dnsRecords") },
	} {
		t.Run(name, func(t *testing.T) {
			resources := deployed(t, "production", change)
			needs := map[string][]string{}
			for _, r := range resources {
				needs[r.URN] = append(slices.Clone(r.DependsOn), r.Parent)
			}
			kept := map[string]bool{}
			var keep func(urn string)
			keep = func(urn string) {
				if kept[urn] {
					return
				}
				kept[urn] = true
				for _, before := range needs[urn] {
					keep(before)
				}
			}
			protected := map[string]bool{}
			for _, r := range resources {
				// A child is protected if its parent is.
				if protected[r.URN] = r.Protect || protected[r.Parent]; protected[r.URN] {
					keep(r.URN)
				}
			}
			for _, r := range resources {
				// A component holds nothing that could be lost.
				if !strings.HasPrefix(r.Type, componentType) {
					require.True(t, kept[r.URN], "%s %s could be deleted", r.Type, r.Name)
				}
			}
		})
	}
}

func TestStackThatAdmitsOnlyItsRunnerHasNoOtherSSHRule(t *testing.T) {
	resources := deployed(t, "production", func(values map[string]string) {
		values["sshFromRunner"], values["sshAllowFrom"] = "true", "[]"
	})
	var ports []float64
	for _, rule := range find(t, resources, "aws:ec2/securityGroup:SecurityGroup", "web").Inputs["ingress"].ArrayValue() {
		ports = append(ports, rule.ObjectValue()["fromPort"].NumberValue())
	}
	require.Equal(t, []float64{80, 443}, ports)
}
