package s3server

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/xml"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
)

// account is the body of versitygw's create-user request.
type account struct {
	XMLName xml.Name `xml:"Account"`
	Access  string
	Secret  string
	// Role "user" may do what bucket policies allow and nothing else.
	Role string
}

// CreateAccount makes an account that has no permission but those that bucket
// policies give it. An account that exists with the same id is left as it is.
func (s *Server) CreateAccount(ctx context.Context, accessKeyID, secretAccessKey string) error {
	body, err := xml.Marshal(account{Access: accessKeyID, Secret: secretAccessKey, Role: "user"})
	if err != nil {
		return fmt.Errorf("encode the account: %w", err)
	}
	return s.admin(ctx, "create-user", nil, body, "XAdminUserExists")
}

// DeleteAccount deletes an account, or does nothing when there is none.
func (s *Server) DeleteAccount(ctx context.Context, accessKeyID string) error {
	return s.admin(ctx, "delete-user", url.Values{"access": {accessKeyID}}, nil, "XAdminUserNotFound")
}

// admin sends one request of versitygw's admin API, which is signed like S3's.
func (s *Server) admin(ctx context.Context, action string, query url.Values, body []byte, tolerated string) error {
	target := strings.TrimSuffix(s.settings.Endpoint, "/") + "/" + action
	if len(query) > 0 {
		target += "?" + query.Encode()
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPatch, target, bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("S3 server: %s: %w", action, err)
	}
	sum := sha256.Sum256(body)
	hash := hex.EncodeToString(sum[:])
	request.Header.Set("X-Amz-Content-Sha256", hash)
	root := aws.Credentials{AccessKeyID: s.settings.AccessKeyID, SecretAccessKey: s.settings.SecretAccessKey}
	if err := v4.NewSigner().SignHTTP(ctx, root, request, hash, "s3", s.settings.Region, time.Now()); err != nil {
		return fmt.Errorf("S3 server: sign %s: %w", action, err)
	}
	response, err := s.http.Do(request)
	if err != nil {
		return fmt.Errorf("S3 server: %s: %w", action, err)
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(response.Body, 64<<10))
	if err != nil {
		return fmt.Errorf("S3 server: read the answer to %s: %w", action, err)
	}
	if response.StatusCode >= http.StatusMultipleChoices && !bytes.Contains(answer, []byte(tolerated)) {
		return fmt.Errorf("S3 server: %s: %s: %s", action, response.Status, bytes.TrimSpace(answer))
	}
	return nil
}
