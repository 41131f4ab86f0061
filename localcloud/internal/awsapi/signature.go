package awsapi

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"

	"immutable-infra/localcloud/internal/plugin/awsplugin/caller"
)

// authenticate finds out who has signed a request, or answers as AWS does to
// somebody it does not know.
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

// authorization is the content of the Authorization header.
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
