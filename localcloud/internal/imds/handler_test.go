package imds_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/credentials/ec2rolecreds"
	awsimds "github.com/aws/aws-sdk-go-v2/feature/ec2/imds"
	"github.com/stretchr/testify/require"

	"immutable-infra/localcloud/internal/cloud"
	"immutable-infra/localcloud/internal/imds"
)

// instance returns the network interface of an instance as the aws plugin describes it.
func instance() cloud.NetworkInterface {
	return cloud.NetworkInterface{
		InstanceID: "i-0123456789abcdef0",
		PrivateIP:  netip.MustParseAddr("10.42.1.10"),
		PublicIP:   netip.MustParseAddr("198.18.1.7"),
		Metadata: cloud.Metadata{
			AMI: "ami-0deb1a13000000000", InstanceType: "t3.micro",
			AvailabilityZone: "us-east-1a", Region: "us-east-1", AccountID: "000000000000",
			VpcID: "vpc-1", SubnetID: "subnet-1",
			VpcCIDR: netip.MustParsePrefix("10.42.0.0/16"), SubnetCIDR: netip.MustParsePrefix("10.42.1.0/24"),
			SecurityGroups: []string{"web"}, UserData: []byte("#cloud-config\n"),
			Architecture: "x86_64", HopLimit: 1, TokensRequired: true, Enabled: true,
			Role: &cloud.RoleCredentials{RoleName: "server",
				InstanceProfileARN: "arn:aws:iam::000000000000:instance-profile/server",
				AccessKeyID:        "AKIAEXAMPLE", SecretAccessKey: "secret", Lifetime: time.Hour},
		},
	}
}

// serve runs the service, treating every request as coming from the given instance, and returns its URL.
func serve(t *testing.T, eni cloud.NetworkInterface) string {
	t.Helper()
	server := httptest.NewServer(imds.NewHandler(func(netip.Addr) (cloud.NetworkInterface, bool, error) {
		return eni, true, nil
	}))
	t.Cleanup(server.Close)
	return server.URL
}

func request(t *testing.T, method, url string, headers ...string) (int, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, url, nil)
	require.NoError(t, err)
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	response, err := http.DefaultClient.Do(r)
	require.NoError(t, err)
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	return response.StatusCode, string(body)
}

func token(t *testing.T, url string) string {
	t.Helper()
	status, body := request(t, http.MethodPut, url+"/latest/api/token", "X-aws-ec2-metadata-token-ttl-seconds", "60")
	require.Equal(t, http.StatusOK, status)
	return body
}

func get(t *testing.T, url, path string) (int, string) {
	t.Helper()
	return request(t, http.MethodGet, url+path, "X-aws-ec2-metadata-token", token(t, url))
}

func TestAWSSDKGetsRoleCredentials(t *testing.T) {
	client := awsimds.New(awsimds.Options{Endpoint: serve(t, instance())})
	credentials, err := ec2rolecreds.New(func(o *ec2rolecreds.Options) { o.Client = client }).Retrieve(t.Context())
	require.NoError(t, err)
	require.Equal(t, "AKIAEXAMPLE", credentials.AccessKeyID)
	require.Equal(t, "secret", credentials.SecretAccessKey)
	require.True(t, credentials.CanExpire)
	require.WithinDuration(t, time.Now().Add(time.Hour), credentials.Expires, time.Minute)
}

func TestAWSSDKReadsRegionAndIdentity(t *testing.T) {
	client := awsimds.New(awsimds.Options{Endpoint: serve(t, instance())})
	region, err := client.GetRegion(t.Context(), nil)
	require.NoError(t, err)
	require.Equal(t, "us-east-1", region.Region)
	identity, err := client.GetInstanceIdentityDocument(t.Context(), nil)
	require.NoError(t, err)
	require.Equal(t, "i-0123456789abcdef0", identity.InstanceID)
}

func TestRequestWithoutRequiredTokenIsRejected(t *testing.T) {
	eni := instance()
	status, _ := request(t, http.MethodGet, serve(t, eni)+"/latest/meta-data/instance-id")
	require.Equal(t, http.StatusUnauthorized, status)

	eni.Metadata.TokensRequired = false
	status, body := request(t, http.MethodGet, serve(t, eni)+"/latest/meta-data/instance-id")
	require.Equal(t, http.StatusOK, status)
	require.Equal(t, "i-0123456789abcdef0", body)
}

func TestForgedTokenIsRejected(t *testing.T) {
	status, _ := request(t, http.MethodGet, serve(t, instance())+"/latest/meta-data/", "X-aws-ec2-metadata-token",
		"forged")
	require.Equal(t, http.StatusUnauthorized, status)
}

func TestTokenIsBoundToItsInstance(t *testing.T) {
	current := instance()
	server := httptest.NewServer(imds.NewHandler(func(netip.Addr) (cloud.NetworkInterface, bool, error) {
		return current, true, nil
	}))
	t.Cleanup(server.Close)
	stolen := token(t, server.URL)
	current.InstanceID = "i-00000000000000001"
	status, _ := request(t, http.MethodGet, server.URL+"/latest/meta-data/", "X-aws-ec2-metadata-token", stolen)
	require.Equal(t, http.StatusUnauthorized, status)
}

func TestTokenRequestIsValidated(t *testing.T) {
	url := serve(t, instance()) + "/latest/api/token"
	const ttl = "X-aws-ec2-metadata-token-ttl-seconds"
	for name, test := range map[string]struct {
		headers []string
		status  int
	}{
		"missing TTL":          {nil, http.StatusBadRequest},
		"zero TTL":             {[]string{ttl, "0"}, http.StatusBadRequest},
		"more than six hours":  {[]string{ttl, "21601"}, http.StatusBadRequest},
		"six hours":            {[]string{ttl, "21600"}, http.StatusOK},
		"forwarded by a proxy": {[]string{ttl, "60", "X-Forwarded-For", "192.0.2.1"}, http.StatusForbidden},
		"non-numeric TTL":      {[]string{ttl, "long"}, http.StatusBadRequest},
	} {
		t.Run(name, func(t *testing.T) {
			status, _ := request(t, http.MethodPut, url, test.headers...)
			require.Equal(t, test.status, status)
		})
	}
}

func TestDisabledServiceReturnsForbidden(t *testing.T) {
	eni := instance()
	eni.Metadata.Enabled = false
	status, _ := request(t, http.MethodPut, serve(t, eni)+"/latest/api/token", "X-aws-ec2-metadata-token-ttl-seconds",
		"60")
	require.Equal(t, http.StatusForbidden, status)
}

func TestUnknownCallerGetsNotFound(t *testing.T) {
	server := httptest.NewServer(imds.NewHandler(func(netip.Addr) (cloud.NetworkInterface, bool, error) {
		return cloud.NetworkInterface{}, false, nil
	}))
	t.Cleanup(server.Close)
	status, _ := request(t, http.MethodGet, server.URL+"/latest/user-data")
	require.Equal(t, http.StatusNotFound, status)
}

func TestCloudInitDocumentsAreServed(t *testing.T) {
	url := serve(t, instance())
	mac := "02:00:0a:2a:01:0a"
	for path, want := range map[string]string{
		"/latest/user-data":                                                                "#cloud-config\n",
		"/2021-03-23/meta-data/instance-id":                                                "i-0123456789abcdef0",
		"/2021-03-23/meta-data/local-hostname":                                             "ip-10-42-1-10.ec2.internal",
		"/2021-03-23/meta-data/public-ipv4":                                                "198.18.1.7",
		"/2021-03-23/meta-data/network/interfaces/macs/":                                   mac + "/",
		"/2021-03-23/meta-data/network/interfaces/macs/" + mac + "/subnet-ipv4-cidr-block": "10.42.1.0/24",
		"/2021-03-23/meta-data/network/interfaces/macs/" + mac + "/ipv4-associations/":     "198.18.1.7",
		"/latest/meta-data/iam/security-credentials/":                                      "server",
		"/latest/meta-data/placement/availability-zone":                                    "us-east-1a",
		"/latest/": "dynamic/\nmeta-data/\nuser-data",
		"/2021-03-23/meta-data/network/interfaces/macs/" + mac + "/ipv4-associations/198.18.1.7": "10.42.1.10",
	} {
		status, body := get(t, url, path)
		require.Equal(t, http.StatusOK, status, path)
		require.Equal(t, want, body, path)
	}
}

func TestMissingPropertiesReturnNotFound(t *testing.T) {
	eni := instance()
	eni.PublicIP = netip.Addr{}
	eni.Metadata.UserData, eni.Metadata.Role = nil, nil
	url := serve(t, eni)
	for _, path := range []string{
		"/latest/user-data", "/latest/meta-data/public-ipv4", "/latest/meta-data/public-keys/",
		"/latest/meta-data/iam/info", "/latest/meta-data/iam/security-credentials/", "/nonsense/meta-data/",
	} {
		status, _ := get(t, url, path)
		require.Equal(t, http.StatusNotFound, status, path)
	}
	_, listing := get(t, url, "/latest/meta-data/")
	require.NotContains(t, strings.Split(listing, "\n"), "iam/")
}
