// Package awstest fakes the parts of S3, KMS and STS that bootstrap uses, as AWS or as another S3-compatible store.
package awstest

import (
	"encoding/json"
	"encoding/xml"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
)

// Account is the account that the tests' credentials belong to.
const Account = "123456789012"

// AWS is one AWS account, and the buckets of all accounts.
type AWS struct {
	URL string
	// Unknown lists the bucket settings that the store does not support, by their query parameters in S3's URLs, such as
	// publicAccessBlock.
	Unknown []string
	// NoAccounts denies requests with an expected bucket owner, like stores without AWS accounts.
	NoAccounts bool
	// NoAliases makes CreateAlias fail.
	NoAliases bool

	mu       sync.Mutex
	buckets  map[string]*Bucket
	keys     []*Key
	aliases  map[string]*Key
	requests []string
}

type Bucket struct {
	Owner, Region string
	// Settings are the bodies of PUT requests, by the setting's query parameter in S3's URLs.
	Settings map[string]string
	Objects  map[string]string
}

// Key is a KMS key.
type Key struct {
	ID, State, Usage, Spec, Description string
	Tags                                map[string]string
	Rotated                             bool
}

// Start serves an empty account until the test ends, and points the SDK to it with environment variables.
func Start(t *testing.T) *AWS {
	t.Helper()
	account := &AWS{buckets: map[string]*Bucket{}, aliases: map[string]*Key{}}
	server := httptest.NewServer(account)
	t.Cleanup(server.Close)
	// With an IP address the SDK uses path-style addresses.
	account.URL = server.URL
	none := filepath.Join(t.TempDir(), "none")
	for name, value := range map[string]string{
		"AWS_ACCESS_KEY_ID": "AKIDEXAMPLE", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_SESSION_TOKEN": "",
		"AWS_PROFILE": "", "AWS_REGION": "", "AWS_DEFAULT_REGION": "",
		"AWS_CONFIG_FILE": none, "AWS_SHARED_CREDENTIALS_FILE": none,
		"AWS_EC2_METADATA_DISABLED": "true", "AWS_MAX_ATTEMPTS": "1", "AWS_CA_BUNDLE": "",
		// This variable covers all services. With AWS_ENDPOINT_URL_S3, bootstrap would assume a store other than AWS.
		"AWS_ENDPOINT_URL": account.URL, "AWS_ENDPOINT_URL_S3": "", "AWS_ENDPOINT_URL_KMS": "", "AWS_ENDPOINT_URL_STS": "",
	} {
		t.Setenv(name, value)
	}
	return account
}

// Bucket returns the bucket with a name, or nil.
func (a *AWS) Bucket(name string) *Bucket {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.buckets[name]
}

// Put adds a bucket.
func (a *AWS) Put(name string, bucket *Bucket) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if bucket.Settings == nil {
		bucket.Settings = map[string]string{}
	}
	a.buckets[name] = bucket
}

// Keys returns all keys.
func (a *AWS) Keys() []*Key {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Clone(a.keys)
}

// Key returns the key with an alias, or nil.
func (a *AWS) Key(alias string) *Key {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.aliases[alias]
}

// PutKey adds a key with an alias.
func (a *AWS) PutKey(alias string, key *Key) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.keys = append(a.keys, key)
	a.aliases[alias] = key
}

// Requests returns the requests since the last call: S3's in the form "PUT NAME?versioning", those of KMS and STS as
// action names.
func (a *AWS) Requests() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	requests := a.requests
	a.requests = nil
	return requests
}

// ServeHTTP dispatches a request to its service.
func (a *AWS) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a.mu.Lock()
	defer a.mu.Unlock()
	body, err := io.ReadAll(r.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	switch target, isKMS := strings.CutPrefix(r.Header.Get("X-Amz-Target"), "TrentService."); {
	case isKMS:
		a.requests = append(a.requests, target)
		a.kms(w, target, body)
	case r.Method == http.MethodPost && r.URL.Path == "/" &&
		r.Header.Get("Content-Type") == "application/x-www-form-urlencoded":
		form, err := url.ParseQuery(string(body))
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		a.requests = append(a.requests, form.Get("Action"))
		fmt.Fprintf(w, `<GetCallerIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">`+
			`<GetCallerIdentityResult><Arn>arn:aws:iam::%s:user/ada</Arn><UserId>AIDAEXAMPLE</UserId>`+
			`<Account>%s</Account></GetCallerIdentityResult></GetCallerIdentityResponse>`, Account, Account)
	default:
		a.s3(w, r, string(body))
	}
}

func (a *AWS) s3(w http.ResponseWriter, r *http.Request, body string) {
	name, key, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	query := r.URL.Query()
	query.Del("x-id")
	setting := strings.TrimSuffix(query.Encode(), "=")
	request := r.Method + " " + name
	if key != "" {
		request += "/" + key
	}
	if setting != "" {
		request += "?" + setting
	}
	a.requests = append(a.requests, request)

	fail := func(status int, code string) {
		w.WriteHeader(status)
		if r.Method != http.MethodHead {
			fmt.Fprintf(w, `<?xml version="1.0" encoding="UTF-8"?><Error><Code>%s</Code><Message>%s</Message></Error>`, code,
				code)
		}
	}
	bucket := a.buckets[name]
	owner := r.Header.Get("X-Amz-Expected-Bucket-Owner")
	creates := r.Method == http.MethodPut && key == "" && setting == ""
	switch {
	case creates && bucket == nil:
		var configuration struct{ LocationConstraint string }
		if body != "" {
			if err := xml.Unmarshal([]byte(body), &configuration); err != nil {
				fail(http.StatusBadRequest, "MalformedXML")
				return
			}
		}
		a.buckets[name] = &Bucket{Owner: Account, Region: configuration.LocationConstraint, Settings: map[string]string{}}
	case creates && bucket.Owner != Account:
		fail(http.StatusConflict, "BucketAlreadyExists")
	case creates:
		fail(http.StatusConflict, "BucketAlreadyOwnedByYou")
	case bucket == nil:
		fail(http.StatusNotFound, "NoSuchBucket")
	case bucket.Owner != Account, owner != "" && (a.NoAccounts || owner != bucket.Owner):
		fail(http.StatusForbidden, "AccessDenied")
	case r.Method == http.MethodHead && key == "":
	case r.Method == http.MethodHead:
		if _, ok := bucket.Objects[key]; !ok {
			fail(http.StatusNotFound, "NotFound")
		}
	case r.Method == http.MethodPut && slices.Contains(a.Unknown, setting):
		fail(http.StatusNotImplemented, "NotImplemented")
	case r.Method == http.MethodPut && setting != "":
		bucket.Settings[setting] = body
	default:
		fail(http.StatusBadRequest, "InvalidRequest")
	}
}

func (a *AWS) kms(w http.ResponseWriter, action string, body []byte) {
	w.Header().Set("Content-Type", "application/x-amz-json-1.1")
	fail := func(code string) {
		w.WriteHeader(http.StatusBadRequest)
		fmt.Fprintf(w, `{"__type": %q, "message": %q}`, code, code)
	}
	var request struct {
		KeyId, AliasName, TargetKeyId, Description, KeySpec, KeyUsage string
		Tags                                                          []struct{ TagKey, TagValue string }
	}
	if err := json.Unmarshal(body, &request); err != nil {
		fail("ValidationException")
		return
	}
	find := func(id string) *Key {
		if key := a.aliases[id]; key != nil {
			return key
		}
		for _, key := range a.keys {
			if id == key.ID || id == key.arn() {
				return key
			}
		}
		return nil
	}
	describe := func(key *Key) {
		metadata := map[string]any{"KeyId": key.ID, "Arn": key.arn(), "KeyState": key.State, "KeyUsage": key.Usage,
			"KeySpec": key.Spec}
		if key.State == "PendingDeletion" {
			metadata["DeletionDate"] = 1798761600 // 1 January 2027
		}
		if err := json.NewEncoder(w).Encode(map[string]any{"KeyMetadata": metadata}); err != nil {
			fail("KMSInternalException")
		}
	}
	switch key := find(request.KeyId); {
	case action == "CreateKey":
		created := &Key{
			ID: fmt.Sprintf("%08d-0000-0000-0000-000000000000", len(a.keys)+1), State: "Enabled",
			Usage: request.KeyUsage, Spec: request.KeySpec, Description: request.Description, Tags: map[string]string{},
		}
		for _, tag := range request.Tags {
			created.Tags[tag.TagKey] = tag.TagValue
		}
		a.keys = append(a.keys, created)
		describe(created)
	case action == "CreateAlias" && a.NoAliases:
		fail("AccessDeniedException")
	case action == "CreateAlias":
		target := find(request.TargetKeyId)
		if target == nil {
			fail("NotFoundException")
			return
		}
		a.aliases[request.AliasName] = target
	case key == nil:
		fail("NotFoundException")
	case action == "DescribeKey":
		describe(key)
	case action == "EnableKeyRotation":
		key.Rotated = true
	default:
		fail("UnsupportedOperationException")
	}
}

func (k *Key) arn() string {
	return fmt.Sprintf("arn:aws:kms:eu-central-1:%s:key/%s", Account, k.ID)
}
