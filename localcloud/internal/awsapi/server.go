// Package awsapi answers for two of AWS's services, KMS and STS, as far as this
// project needs them. Requests are signed, as AWS wants them, and a role may do
// what its policies allow.
package awsapi

import (
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/aws/smithy-go"
	"github.com/google/uuid"

	"immutable-infra/localcloud/internal/plugin/awsplugin/caller"
	"immutable-infra/localcloud/internal/plugin/awsplugin/store"
)

// largestBody is the most that is read of a request, in bytes.
const largestBody = 1 << 20

// Settings of a Server.
type Settings struct {
	Region string
	// Root is the administrator's access key.
	Root store.Account
	// State reads what the control plane knows: the roles.
	State func() (*store.State, error)
	// KeyFile keeps the keys and aliases of KMS.
	KeyFile string
	Now     func() time.Time
}

// Server is both services at one address: KMS speaks AWS's JSON 1.1 and is told
// by its X-Amz-Target, STS speaks the query protocol.
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

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, largestBody))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	target, isKMS := strings.CutPrefix(r.Header.Get("X-Amz-Target"), "TrentService.")
	service, contentType := "sts", "text/xml"
	if isKMS {
		service, contentType = "kms", "application/x-amz-json-1.1"
	}
	w.Header().Set("Content-Type", contentType)
	var answer any
	who, err := s.authenticate(r, body, service)
	switch {
	case err != nil:
	case isKMS:
		answer, err = s.doKMS(target, who, body)
	default:
		answer, err = doSTS(r, who, body)
	}
	if err != nil {
		refused, status := refusalOf(err)
		w.WriteHeader(status)
		answer = map[string]string{"__type": refused.Code, "message": refused.Message}
		if !isKMS {
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

// stsError is an error in the words of the query protocol.
type stsError struct {
	XMLName   xml.Name `xml:"https://sts.amazonaws.com/doc/2011-06-15/ ErrorResponse"`
	Type      string   `xml:"Error>Type"`
	Code      string   `xml:"Error>Code"`
	Message   string   `xml:"Error>Message"`
	RequestID string   `xml:"RequestId"`
}

// callerIdentity is the answer to GetCallerIdentity.
type callerIdentity struct {
	XMLName   xml.Name `xml:"https://sts.amazonaws.com/doc/2011-06-15/ GetCallerIdentityResponse"`
	ARN       string   `xml:"GetCallerIdentityResult>Arn"`
	UserID    string   `xml:"GetCallerIdentityResult>UserId"`
	Account   string   `xml:"GetCallerIdentityResult>Account"`
	RequestID string   `xml:"ResponseMetadata>RequestId"`
}

func doSTS(r *http.Request, who caller.Caller, body []byte) (any, error) {
	query := string(body)
	if r.Method == http.MethodGet {
		query = r.URL.RawQuery
	}
	form, err := url.ParseQuery(query)
	if err != nil {
		return nil, refuse("MalformedQueryString", "%s", err)
	}
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

// refusalOf is what the one who asked is told of an error, with the HTTP status.
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
