// Package awsapi implements the operations of KMS, STS and EC2 that this project's programs call. Like AWS, it
// requires signed requests and enforces the policies of a role.
package awsapi

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/smithy-go"
	"github.com/google/uuid"

	"immutable-infra/localcloud/internal/plugin/awsplugin/caller"
	"immutable-infra/localcloud/internal/plugin/awsplugin/store"
)

const maxBodySize = 1 << 20 // bytes

type Settings struct {
	Region string
	// Root is the administrator's access key.
	Root store.Account
	// State reads the state of the control plane, which includes the roles.
	State func() (*store.State, error)
	// KeyFile stores the keys and aliases of KMS.
	KeyFile string
	Now     func() time.Time
	// EC2 handles a request to EC2's query API on behalf of the account that signed it.
	EC2 func(ctx context.Context, as store.Account, form url.Values) (any, error)
}

// Server serves the three services at one address. Requests to KMS have an X-Amz-Target header and use AWS's JSON 1.1
// protocol; EC2 and STS use the query protocol, and the service is the one that the request is signed for.
type Server struct {
	settings Settings
	kms      *keyring
	actions  map[string]action
}

// New returns a server with the keys in settings.KeyFile.
func New(settings Settings) (*Server, error) {
	keys, err := openKeyring(settings.KeyFile)
	if err != nil {
		return nil, err
	}
	return &Server{settings: settings, kms: keys, actions: kmsActions()}, nil
}

func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBodySize))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	target, isKMS := strings.CutPrefix(r.Header.Get("X-Amz-Target"), "TrentService.")
	service, contentType := "sts", "text/xml"
	auth, _ := parseAuthorization(r.Header.Get("Authorization"))
	switch {
	case isKMS:
		service, contentType = "kms", "application/x-amz-json-1.1"
	case auth.service == "ec2":
		service = "ec2"
	}
	w.Header().Set("Content-Type", contentType)
	var response any
	identity, err := s.authenticate(r, body, service)
	switch {
	case err != nil:
	case isKMS:
		response, err = s.handleKMS(target, identity, body)
	default:
		r.Body = io.NopCloser(bytes.NewReader(body))
		if err = r.ParseForm(); err != nil {
			err = apiErrorf("MalformedQueryString", "%s", err)
			break
		}
		if service == "ec2" {
			response, err = s.settings.EC2(r.Context(),
				store.Account{AccessKeyID: auth.accessKeyID, SecretAccessKey: identity.SecretAccessKey}, r.Form)
		} else {
			response, err = handleSTS(identity, r.Form)
		}
	}
	if err != nil {
		apiErr, status := toAPIError(err)
		w.WriteHeader(status)
		switch service {
		case "kms":
			response = map[string]string{"__type": apiErr.Code, "message": apiErr.Message}
		case "ec2":
			response = ec2Error{Code: apiErr.Code, Message: apiErr.Message, RequestID: uuid.NewString()}
		default:
			response = stsError{Type: "Sender", Code: apiErr.Code, Message: apiErr.Message, RequestID: uuid.NewString()}
		}
	}
	switch {
	case !isKMS:
		_ = xml.NewEncoder(w).Encode(response) // fails only if the client has disconnected
	case response != nil: // otherwise the body is empty
		_ = json.NewEncoder(w).Encode(response)
	}
}

func (s *Server) handleKMS(target string, identity caller.Caller, body []byte) (any, error) {
	action, ok := s.actions[target]
	if !ok {
		return nil, apiErrorf("UnknownOperationException", "localcloud's KMS does not support operation %q", target)
	}
	s.kms.mu.Lock()
	defer s.kms.mu.Unlock()
	return (&request{Server: s, action: "kms:" + target, caller: identity}).handle(action, body)
}

// ec2Error is the error response of EC2's query protocol.
type ec2Error struct {
	XMLName   xml.Name `xml:"Response"`
	Code      string   `xml:"Errors>Error>Code"`
	Message   string   `xml:"Errors>Error>Message"`
	RequestID string   `xml:"RequestID"`
}

// stsError is the error response of the query protocol.
type stsError struct {
	XMLName   xml.Name `xml:"https://sts.amazonaws.com/doc/2011-06-15/ ErrorResponse"`
	Type      string   `xml:"Error>Type"`
	Code      string   `xml:"Error>Code"`
	Message   string   `xml:"Error>Message"`
	RequestID string   `xml:"RequestId"`
}

type callerIdentity struct {
	XMLName   xml.Name `xml:"https://sts.amazonaws.com/doc/2011-06-15/ GetCallerIdentityResponse"`
	ARN       string   `xml:"GetCallerIdentityResult>Arn"`
	UserID    string   `xml:"GetCallerIdentityResult>UserId"`
	Account   string   `xml:"GetCallerIdentityResult>Account"`
	RequestID string   `xml:"ResponseMetadata>RequestId"`
}

func handleSTS(identity caller.Caller, form url.Values) (any, error) {
	if action := form.Get("Action"); action != "GetCallerIdentity" {
		return nil, apiErrorf("InvalidAction",
			"Could not find operation %s for version %s: localcloud's STS supports only GetCallerIdentity",
			action, form.Get("Version"))
	}
	// Every caller is allowed to call GetCallerIdentity; no policy can deny it.
	return callerIdentity{
		ARN: identity.ARN, UserID: identity.UserID, Account: caller.AccountID, RequestID: uuid.NewString(),
	}, nil
}

// apiErrorf returns an error with an AWS error code and a message.
func apiErrorf(code, format string, args ...any) error {
	return &smithy.GenericAPIError{Code: code, Message: fmt.Sprintf(format, args...)}
}

// toAPIError returns the AWS error to send for err, and its HTTP status.
func toAPIError(err error) (apiErr *smithy.GenericAPIError, status int) {
	if !errors.As(err, &apiErr) {
		return &smithy.GenericAPIError{Code: "InternalFailure", Message: err.Error()}, http.StatusInternalServerError
	}
	// KMS, whose error codes have this suffix, responds with 400 to all client errors.
	if strings.HasSuffix(apiErr.Code, "Exception") || apiErr.Code == "InvalidAction" ||
		apiErr.Code == "MalformedQueryString" {
		return apiErr, http.StatusBadRequest
	}
	return apiErr, http.StatusForbidden
}

// authenticate returns the caller that signed the request, or the error that AWS returns for an unknown caller or a
// wrong signature.
func (s *Server) authenticate(r *http.Request, body []byte, service string) (caller.Caller, error) {
	// KMS has its own codes for the same errors.
	missing, unknown, wrong := "MissingAuthenticationToken", "InvalidClientTokenId", "SignatureDoesNotMatch"
	if service == "kms" {
		missing, unknown = "MissingAuthenticationTokenException", "UnrecognizedClientException"
		wrong = "InvalidSignatureException"
	}
	auth, ok := parseAuthorization(r.Header.Get("Authorization"))
	if !ok {
		return caller.Caller{}, apiErrorf(missing, "Request is missing Authentication Token")
	}
	state, err := s.settings.State()
	if err != nil {
		return caller.Caller{}, err
	}
	identity, err := caller.Find(state, s.settings.Root, auth.accessKeyID)
	if err != nil {
		return caller.Caller{}, err
	}
	if identity == nil || r.Header.Get("X-Amz-Security-Token") != "" {
		return caller.Caller{}, apiErrorf(unknown, "The security token included in the request is invalid.")
	}
	if auth.region != s.settings.Region || auth.service != service {
		return caller.Caller{}, apiErrorf(wrong,
			"Credential should be scoped to region %s and service %s, not %s and %s",
			s.settings.Region, service, auth.region, auth.service)
	}
	signature, err := sign(r, body, auth, identity.SecretAccessKey)
	if err != nil {
		return caller.Caller{}, apiErrorf(wrong, "%s", err)
	}
	if !hmac.Equal([]byte(signature), []byte(auth.signature)) {
		return caller.Caller{}, apiErrorf(wrong,
			"The request signature we calculated does not match the signature you provided.")
	}
	return *identity, nil
}

type authorization struct {
	accessKeyID, region, service string
	signedHeaders                []string
	signature                    string
}

func parseAuthorization(header string) (authorization, bool) {
	form := regexp.MustCompile(`^AWS4-HMAC-SHA256 Credential=([^/]+)/\d{8}/([^/]+)/([^/]+)/aws4_request, ` +
		`?SignedHeaders=([^,]+), ?Signature=([0-9a-f]{64})$`)
	match := form.FindStringSubmatch(header)
	if match == nil {
		return authorization{}, false
	}
	return authorization{match[1], match[2], match[3], strings.Split(match[4], ";"), match[5]}, true
}

// sign returns the signature that the request should have: it signs the same headers again with the caller's secret.
func sign(r *http.Request, body []byte, auth authorization, secret string) (string, error) {
	at, err := time.Parse("20060102T150405Z", r.Header.Get("X-Amz-Date"))
	if err != nil {
		return "", fmt.Errorf("invalid X-Amz-Date: %w", err)
	}
	clone, err := http.NewRequestWithContext(context.Background(), r.Method, "https://"+r.Host+r.URL.RequestURI(), nil)
	if err != nil {
		return "", err
	}
	for _, name := range auth.signedHeaders {
		switch name {
		case "host": // part of the URL
		case "content-length":
			clone.ContentLength = r.ContentLength
		default:
			clone.Header[http.CanonicalHeaderKey(name)] = r.Header.Values(name)
		}
	}
	sum := sha256.Sum256(body)
	keys := aws.Credentials{AccessKeyID: auth.accessKeyID, SecretAccessKey: secret}
	hash := hex.EncodeToString(sum[:])
	if err := v4.NewSigner().SignHTTP(r.Context(), keys, clone, hash, auth.service, auth.region, at); err != nil {
		return "", err
	}
	signed, _ := parseAuthorization(clone.Header.Get("Authorization"))
	return signed.signature, nil
}
