package awsclient

import (
	"crypto/sha256"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"immutable-infra/internal/testtool"
)

// newClient returns a client with credentials and one additional environment variable.
func newClient(t *testing.T, variable, value string) *Client {
	t.Helper()
	variables := map[string]string{"AWS_ACCESS_KEY_ID": "AKIAEXAMPLE", "AWS_SECRET_ACCESS_KEY": "secret", variable: value}
	client, err := New(t.Context(), "eu-central-1", func(name string) string { return variables[name] })
	require.NoError(t, err)
	return client
}

// awsCLI replaces the AWS CLI by a script.
func awsCLI(t *testing.T, script string) {
	t.Helper()
	bin := t.TempDir()
	testtool.WriteProgram(t, filepath.Join(bin, "aws"), "#!/bin/bash\n"+script)
	t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
}

func TestSignatureIsTheOneInAWSsDocumentation(t *testing.T) {
	client := &Client{
		region:      "us-east-1",
		credentials: credentials{ID: "AKIAIOSFODNN7EXAMPLE", Secret: "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"},
		now:         func() time.Time { return time.Date(2013, 5, 24, 0, 0, 0, 0, time.UTC) },
	}
	r, err := http.NewRequest(http.MethodGet, "https://examplebucket.s3.amazonaws.com/?max-keys=2&prefix=J", nil)
	require.NoError(t, err)
	client.sign(r, "s3", fmt.Sprintf("%x", sha256.Sum256(nil)))
	require.Contains(t, r.Header.Get("Authorization"),
		"Signature=34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7")
}

func TestURLOfABucket(t *testing.T) {
	at := func(endpoint string) string {
		bucket := Bucket{Client: newClient(t, "AWS_ENDPOINT_URL_S3", endpoint), Name: "content-1"}
		return bucket.URL("site/a b?/ü%+=&.html", nil).String()
	}
	const path = "/site/a%20b%3F/%C3%BC%25%2B%3D%26.html"
	require.Equal(t, "https://content-1.s3.eu-central-1.amazonaws.com"+path, at(""))
	require.Equal(t, "http://127.0.0.1:7070/content-1"+path, at("http://127.0.0.1:7070"))
	require.Equal(t, "https://store.example.org/s3/content-1"+path, at("https://store.example.org/s3/"))
}

func TestCredentialsComeFromTheEnvironmentOrTheAWSCLI(t *testing.T) {
	none := func(string) string { return "" }
	awsCLI(t, `[ "$*" = "configure export-credentials --format process" ] && echo '{"Version": 1, "AccessKeyId": "ASIA", "SecretAccessKey": "secret", "SessionToken": "token"}'`)
	found, err := findCredentials(t.Context(), none)
	require.NoError(t, err)
	require.Equal(t, credentials{"ASIA", "secret", "token"}, found)

	found, err = findCredentials(t.Context(), func(name string) string { return name })
	require.NoError(t, err)
	require.Equal(t, credentials{"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"}, found)

	for name, script := range map[string]string{
		"Error loading SSO Token": "echo Error loading SSO Token >&2; exit 255",
		"printed no credentials":  "echo '{}'",
	} {
		awsCLI(t, script)
		_, err = findCredentials(t.Context(), none)
		require.ErrorContains(t, err, name)
		require.ErrorContains(t, err, "set AWS_ACCESS_KEY_ID")
	}
}

func TestBakeUsesEC2sQueryAPI(t *testing.T) {
	var seen url.Values
	response, status := "", http.StatusOK
	ec2 := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		require.NoError(t, err)
		seen, err = url.ParseQuery(string(body))
		require.NoError(t, err)
		require.Contains(t, r.Header.Get("Authorization"), "/eu-central-1/ec2/aws4_request")
		w.WriteHeader(status)
		_, err = io.WriteString(w, response)
		require.NoError(t, err)
	}))
	t.Cleanup(ec2.Close)
	client := newClient(t, "AWS_ENDPOINT_URL_EC2", ec2.URL)

	response = `<DescribeAddressesResponse xmlns="http://ec2.amazonaws.com/doc/2016-11-15/"><addressesSet><item>
		<publicIp>192.0.2.1</publicIp><instanceId>i-1</instanceId></item></addressesSet></DescribeAddressesResponse>`
	holder, err := client.AddressHolder(t.Context(), "eipalloc-1")
	require.NoError(t, err)
	require.Equal(t, "i-1", holder)
	require.Equal(t, url.Values{
		"Action": {"DescribeAddresses"}, "Version": {"2016-11-15"}, "AllocationId.1": {"eipalloc-1"},
	}, seen)

	require.NoError(t, client.MoveAddress(t.Context(), "eipalloc-1", "i-2"))
	require.Equal(t, url.Values{
		"Action": {"AssociateAddress"}, "Version": {"2016-11-15"},
		"AllocationId": {"eipalloc-1"}, "InstanceId": {"i-2"}, "AllowReassociation": {"true"},
	}, seen)

	require.NoError(t, client.TagInstance(t.Context(), "i-2", "Failed", "yes"))
	require.Equal(t, url.Values{
		"Action": {"CreateTags"}, "Version": {"2016-11-15"},
		"ResourceId.1": {"i-2"}, "Tag.1.Key": {"Failed"}, "Tag.1.Value": {"yes"},
	}, seen)

	status, response = http.StatusBadRequest, `<Response><Errors><Error><Code>InvalidInstanceID.NotFound</Code>
		<Message>The instance ID 'i-2' does not exist</Message></Error></Errors></Response>`
	err = client.TerminateInstance(t.Context(), "i-2")
	require.EqualError(t, err,
		"cannot terminate i-2: 400 Bad Request InvalidInstanceID.NotFound The instance ID 'i-2' does not exist")
}
