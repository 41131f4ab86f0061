// Package awsapi answers for three of AWS's services, KMS, STS and EC2, as far as this
// project's programs call them. Requests are signed, as AWS wants them, and a role may do
// what its policies allow.
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

// largestBody is the most that is read of a request, in bytes.
const largestBody = 1 << 20

type Settings struct {
	Region string
	// Root is the administrator's access key.
	Root store.Account
	// State reads what the control plane knows: the roles.
	State func() (*store.State, error)
	// KeyFile keeps the keys and aliases of KMS.
	KeyFile string
	Now     func() time.Time
	// EC2 answers a request of EC2's query API, for the one who sent it.
	EC2 func(ctx context.Context, as store.Account, form url.Values) (any, error)
}

// Server is both services at one address: KMS speaks AWS's JSON 1.1 and has
// an X-Amz-Target, STS speaks the query protocol.
type Server struct {
	settings Settings
	kms      *keyring
	actions  map[string]action
}

// New returns the services, with the keys that the file has.
func New(settings Settings) (*Server, error) {
	keys, err := openKeyring(settings.KeyFile)
	if err != nil {
		return nil, err
	}
	return &Server{settings: settings, kms: keys, actions: kmsActions()}, nil
}

func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, largestBody))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	target, isKMS := strings.CutPrefix(r.Header.Get("X-Amz-Target"), "TrentService.")
	service, contentType := "sts", "text/xml"
	given, _ := parseAuthorization(r.Header.Get("Authorization"))
	switch {
	case isKMS:
		service, contentType = "kms", "application/x-amz-json-1.1"
	case given.service == "ec2":
		service = "ec2"
	}
	w.Header().Set("Content-Type", contentType)
	var answer any
	who, err := s.authenticate(r, body, service)
	switch {
	case err != nil:
	case isKMS:
		answer, err = s.doKMS(target, who, body)
	default:
		r.Body = io.NopCloser(bytes.NewReader(body))
		if err = r.ParseForm(); err != nil {
			err = refuse("MalformedQueryString", "%s", err)
			break
		}
		if service == "ec2" {
			answer, err = s.settings.EC2(r.Context(),
				store.Account{AccessKeyID: given.accessKeyID, SecretAccessKey: who.SecretAccessKey}, r.Form)
		} else {
			answer, err = doSTS(who, r.Form)
		}
	}
	if err != nil {
		refused, status := refusalOf(err)
		w.WriteHeader(status)
		switch service {
		case "kms":
			answer = map[string]string{"__type": refused.Code, "message": refused.Message}
		case "ec2":
			answer = ec2Error{Code: refused.Code, Message: refused.Message, RequestID: uuid.NewString()}
		default:
			answer = stsError{Type: "Sender", Code: refused.Code, Message: refused.Message, RequestID: uuid.NewString()}
		}
	}
	switch {
	case !isKMS:
		_ = xml.NewEncoder(w).Encode(answer) // who asked is gone
	case answer != nil: // an action without an answer has an empty body
		_ = json.NewEncoder(w).Encode(answer)
	}
}

func (s *Server) doKMS(target string, who caller.Caller, body []byte) (any, error) {
	do, ok := s.actions[target]
	if !ok {
		return nil, refuse("UnknownOperationException", "localcloud's KMS does not know the operation %q", target)
	}
	s.kms.mu.Lock()
	defer s.kms.mu.Unlock()
	return (&request{Server: s, action: "kms:" + target, caller: who}).handle(do, body)
}

// ec2Error is an error in the words of EC2's query protocol.
type ec2Error struct {
	XMLName   xml.Name `xml:"Response"`
	Code      string   `xml:"Errors>Error>Code"`
	Message   string   `xml:"Errors>Error>Message"`
	RequestID string   `xml:"RequestID"`
}

// stsError is an error in the words of the query protocol.
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

func doSTS(who caller.Caller, form url.Values) (any, error) {
	if action := form.Get("Action"); action != "GetCallerIdentity" {
		return nil, refuse("InvalidAction",
			"Could not find operation %s for version %s: localcloud's STS knows GetCallerIdentity",
			action, form.Get("Version"))
	}
	// Everybody may ask who they are, and no policy can deny it.
	return callerIdentity{ARN: who.ARN, UserID: who.UserID, Account: caller.AccountID, RequestID: uuid.NewString()}, nil
}

// refuse returns an error in the form of AWS's APIs: a code that programs know, and a
// message for people.
func refuse(code, format string, args ...any) error {
	return &smithy.GenericAPIError{Code: code, Message: fmt.Sprintf(format, args...)}
}

// refusalOf is the caller's view of an error, with the HTTP status.
func refusalOf(err error) (refusal *smithy.GenericAPIError, status int) {
	if !errors.As(err, &refusal) {
		return &smithy.GenericAPIError{Code: "InternalFailure", Message: err.Error()}, http.StatusInternalServerError
	}
	// KMS, whose codes end so, says 400 to all that is the caller's fault.
	if strings.HasSuffix(refusal.Code, "Exception") || refusal.Code == "InvalidAction" ||
		refusal.Code == "MalformedQueryString" {
		return refusal, http.StatusBadRequest
	}
	return refusal, http.StatusForbidden
}

// authenticate finds out who has signed a request, or answers as AWS does to
// an unknown caller.
func (s *Server) authenticate(r *http.Request, body []byte, service string) (caller.Caller, error) {
	// The services have words of their own for the same.
	missing, unknown, wrong := "MissingAuthenticationToken", "InvalidClientTokenId", "SignatureDoesNotMatch"
	if service == "kms" {
		missing, unknown = "MissingAuthenticationTokenException", "UnrecognizedClientException"
		wrong = "InvalidSignatureException"
	}
	given, ok := parseAuthorization(r.Header.Get("Authorization"))
	if !ok {
		return caller.Caller{}, refuse(missing, "Request is missing Authentication Token")
	}
	state, err := s.settings.State()
	if err != nil {
		return caller.Caller{}, err
	}
	who, err := caller.Find(state, s.settings.Root, given.accessKeyID)
	if err != nil {
		return caller.Caller{}, err
	}
	if who == nil || r.Header.Get("X-Amz-Security-Token") != "" {
		return caller.Caller{}, refuse(unknown, "The security token included in the request is invalid.")
	}
	if given.region != s.settings.Region || given.service != service {
		return caller.Caller{}, refuse(wrong, "Credential should be scoped to region %s and service %s, not %s and %s",
			s.settings.Region, service, given.region, given.service)
	}
	signature, err := sign(r, body, given, who.SecretAccessKey)
	if err != nil {
		return caller.Caller{}, refuse(wrong, "%s", err)
	}
	if !hmac.Equal([]byte(signature), []byte(given.signature)) {
		return caller.Caller{}, refuse(wrong,
			"The request signature we calculated does not match the signature you provided.")
	}
	return *who, nil
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

// sign signs what was signed of a request, as its sender should have.
func sign(r *http.Request, body []byte, given authorization, secret string) (string, error) {
	at, err := time.Parse("20060102T150405Z", r.Header.Get("X-Amz-Date"))
	if err != nil {
		return "", fmt.Errorf("X-Amz-Date is not the time of a signature: %w", err)
	}
	again, err := http.NewRequestWithContext(context.Background(), r.Method, "https://"+r.Host+r.URL.RequestURI(), nil)
	if err != nil {
		return "", err
	}
	for _, name := range given.signedHeaders {
		switch name {
		case "host": // in the URL
		case "content-length":
			again.ContentLength = r.ContentLength
		default:
			again.Header[http.CanonicalHeaderKey(name)] = r.Header.Values(name)
		}
	}
	sum := sha256.Sum256(body)
	keys := aws.Credentials{AccessKeyID: given.accessKeyID, SecretAccessKey: secret}
	hash := hex.EncodeToString(sum[:])
	if err := v4.NewSigner().SignHTTP(r.Context(), keys, again, hash, given.service, given.region, at); err != nil {
		return "", err
	}
	signed, _ := parseAuthorization(again.Header.Get("Authorization"))
	return signed.signature, nil
}
