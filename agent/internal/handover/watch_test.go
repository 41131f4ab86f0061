package handover

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"immutable-infra/agent/internal/bucket"
	"immutable-infra/server/report"
)

const holdsVIP = "level=INFO msg=\"this server holds the VIP\" vip=198.51.100.7\n"

func TestHolderOfTheVIPIsRecordedOnce(t *testing.T) {
	defer syscall.Umask(syscall.Umask(0o022)) // systemd's
	synctest.Test(t, func(t *testing.T) {
		s := start(t, vip)
		defer s.stop()
		require.Equal(t, Holder{Server: "i-old", Since: time.Now().UTC()}, stored[Holder](t, s.bucket, HolderKey))
		require.True(t, fileExists(s.holder))
		stat, err := os.Stat(s.holder)
		require.NoError(t, err)
		require.Equal(t, os.FileMode(0o644), stat.Mode().Perm())

		advance(time.Hour)
		require.Equal(t, []string{"PUT " + HolderKey}, writes(s.bucket.takeRequests()))
		require.Equal(t, holdsVIP, s.takeLog(), "an uneventful hour logs nothing")
		require.Equal(t, Serving, s.proxy.current())
	})
}

func TestServerWithoutTheVIPDoesNotAccessTheBucket(t *testing.T) {
	for name, address := range map[string]netip.Addr{"another address": otherAddress, "no address": noAddress} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := start(t, address, func(s *server) { require.NoError(t, os.WriteFile(s.holder, nil, 0o644)) })
				defer s.stop()
				s.bucket.announce(t, "i-new", MaxWindow)
				advance(time.Minute)
				require.Empty(t, s.bucket.takeRequests())
				require.False(t, fileExists(s.holder), "a file from an earlier time as holder is removed")
				require.Equal(t, Waiting, s.proxy.current())
				require.Equal(t, "level=INFO msg=\"this server does not hold the VIP\" vip=198.51.100.7\n", s.takeLog())
			})
		})
	}
}

func TestEachArrivalOfTheVIPIsRecorded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := start(t, otherAddress)
		defer s.stop()
		begin := time.Now().UTC()
		advance(59 * time.Second)
		s.cloud.answer(vip, nil)
		advance(time.Second)
		require.Equal(t, Holder{Server: "i-old", Since: begin.Add(time.Minute)}, stored[Holder](t, s.bucket, HolderKey))
		require.True(t, fileExists(s.holder))

		s.cloud.answer(otherAddress, nil)
		advance(2 * time.Second)
		require.False(t, fileExists(s.holder))
		require.Equal(t, "i-old", stored[Holder](t, s.bucket, HolderKey).Server, "only the new holder overwrites the record")

		s.bucket.takeRequests()
		s.cloud.answer(vip, nil)
		advance(10 * time.Second)
		require.Equal(t, []string{"PUT " + HolderKey}, writes(s.bucket.takeRequests()))
		require.True(t, fileExists(s.holder))
	})
}

// The record tells backups which server may write.
func TestHolderIsRecordedAgainInEmptiedBucket(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := start(t, vip)
		defer s.stop()
		s.takeLog()
		s.bucket.delete(HolderKey)
		advance(time.Minute)
		require.Equal(t, "i-old", stored[Holder](t, s.bucket, HolderKey).Server)
		require.Equal(t, "level=WARN msg=\"the holder record is missing or invalid: rewriting it\"\n", s.takeLog())

		s.bucket.write(HolderKey, `{"server":"i-new","since":"2026-11-23T04:39:21Z"}`)
		advance(holderPause)
		require.Equal(t, "i-new", stored[Holder](t, s.bucket, HolderKey).Server, "a later record may be right")
		advance(holderPause)
		require.Equal(t, "i-old", stored[Holder](t, s.bucket, HolderKey).Server, "the metadata service contradicts it")
		for _, text := range []string{"", "[]", `{"server":"\n::stop-commands::"}`, strings.Repeat("x", 5_000)} {
			s.bucket.write(HolderKey, text)
			advance(holderPause)
			require.Equal(t, "i-old", stored[Holder](t, s.bucket, HolderKey).Server)
		}

		s.bucket.delete(HolderKey)
		s.cloud.answer(noAddress, errors.New("timeout"))
		advance(10 * time.Minute)
		require.Empty(t, stored[Holder](t, s.bucket, HolderKey).Server,
			"without metadata, it is unknown whether this server holds the VIP")
	})
}

func TestRestartedAgentRecordsTheVIPAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := start(t, vip)
		advance(time.Minute)
		s.restart()
		defer s.stop()
		require.Equal(t, []string{"PUT " + HolderKey, "PUT " + HolderKey}, writes(s.bucket.takeRequests()))
	})
}

func TestHolderFileIsCreatedAfterTheVIPIsRecorded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := start(t, vip, func(s *server) { s.bucket.fail("PUT "+HolderKey, errors.New("no route to host")) })
		defer s.stop()
		advance(time.Minute)
		require.False(t, fileExists(s.holder))
		s.bucket.fail("PUT "+HolderKey, nil)
		advance(2 * time.Second)
		require.True(t, fileExists(s.holder))
		require.Equal(t, holdsVIP+
			"level=WARN msg=\"cannot record that this server holds the VIP\" error=\"no route to host\"\n"+
			"level=INFO msg=\"recovered: record that this server holds the VIP\"\n", s.takeLog())
	})
}

func TestFailingMetadataServiceChangesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := start(t, noAddress, func(s *server) { s.cloud.answer(noAddress, errors.New("timeout")) })
		defer s.stop()
		advance(time.Minute)
		require.Empty(t, s.bucket.takeRequests(), "it is unknown whether this server holds the VIP")

		s.cloud.answer(vip, nil)
		advance(2 * time.Second)
		require.True(t, fileExists(s.holder))
		s.bucket.takeRequests()
		s.cloud.answer(noAddress, errors.New("timeout"))
		advance(time.Minute)
		require.True(t, fileExists(s.holder))
		require.Empty(t, writes(s.bucket.takeRequests()))
		id := s.bucket.announce(t, "i-new", time.Minute)
		advance(10 * time.Second)
		require.Equal(t, id, stored[HandoverAck](t, s.bucket, AckKey).Request, "it continues the handover")
		require.Equal(t, 2, strings.Count(s.log.String(), "cannot query the metadata service"))
		require.Equal(t, 1, strings.Count(s.log.String(), "recovered: query the metadata service"))
	})
}

func TestServerHandsOverToSuccessorOnRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := start(t, vip)
		defer s.stop()
		advance(time.Second)
		s.takeLog()
		s.bucket.takeRequests()
		id := s.bucket.announce(t, "i-new", 2*time.Minute)

		advance(time.Second)
		require.Equal(t, Draining, s.proxy.current(), "visitors are asked to reconnect at the next check")
		require.Empty(t, s.data.taken())

		advance(2900 * time.Millisecond)
		require.Empty(t, s.data.taken(), "visitors have three seconds to do so")
		require.Equal(t, HandoverAck{}, stored[HandoverAck](t, s.bucket, AckKey))
		taken := s.data.taken
		s.data.onRelease(func(context.Context) error {
			require.Equal(t, HandoverAck{}, stored[HandoverAck](t, s.bucket, AckKey), "the acknowledgment comes after the data")
			return nil
		})
		advance(100 * time.Millisecond)
		require.Equal(t, []string{"release"}, taken())
		require.Equal(t, HandoverAck{Request: id, Server: "i-old", Acknowledged: time.Now().UTC()},
			stored[HandoverAck](t, s.bucket, AckKey))

		advance(20 * time.Second)
		require.Equal(t, []string{"PUT " + AckKey}, writes(s.bucket.takeRequests()), "one acknowledgment is enough")
		s.cloud.answer(otherAddress, nil)
		advance(time.Hour)
		require.Equal(t, Draining, s.proxy.current(), "a replaced server does not change")
		require.False(t, fileExists(s.holder))
		require.Equal(t, []string{"release"}, s.data.taken())
		require.Equal(t,
			"level=INFO msg=\"handing over: asking visitors to reconnect\" successor=i-new until=2000-01-01T00:02:01.000Z\n"+
				"level=INFO msg=\"handed over\" successor=i-new\n"+
				"level=INFO msg=\"this server does not hold the VIP\" vip=198.51.100.7\n", s.takeLog())
	})
}

func TestServerResumesIfTheSuccessorDoesNotTakeTheVIP(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := start(t, vip)
		defer s.stop()
		s.bucket.announce(t, "i-new", 2*time.Minute)
		advance(119 * time.Second)
		require.Equal(t, Draining, s.proxy.current())
		s.takeLog()
		// The next check begins within one poll.
		advance(3 * time.Second)
		require.Equal(t, Serving, s.proxy.current())
		require.Equal(t, []string{"release", "resume"}, s.data.taken())
		require.Equal(t, "level=WARN msg=\"resumed: the successor did not take the VIP\" successor=i-new\n", s.takeLog())

		advance(time.Hour)
		require.Equal(t, Serving, s.proxy.current())
		require.Equal(t, []string{"release", "resume"}, s.data.taken())
		require.Empty(t, s.takeLog())
	})
}

func TestServerContinuesWhileTheBucketIsUnreachable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := start(t, vip)
		defer s.stop()
		s.bucket.announce(t, "i-new", time.Minute)
		advance(10 * time.Second)
		require.Equal(t, Draining, s.proxy.current())
		s.bucket.fail("GET "+RequestKey, errors.New("no route to host"))
		advance(time.Minute)
		require.Equal(t, Serving, s.proxy.current())
	})
}

func TestServerThatRegainsTheVIPServesAgain(t *testing.T) {
	for name, acknowledges := range map[string]bool{"after the acknowledgment": true, "without acknowledgment": false} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := start(t, vip)
				defer s.stop()
				if !acknowledges {
					s.bucket.fail("PUT "+AckKey, bucket.ErrDenied)
				}
				s.bucket.announce(t, "i-new", MaxWindow)
				advance(11 * time.Second)
				s.cloud.answer(noAddress, nil)
				advance(20 * time.Second)
				require.Equal(t, Draining, s.proxy.current())
				s.takeLog()

				s.bucket.fail("PUT "+AckKey, nil)
				s.cloud.answer(vip, nil)
				advance(10 * time.Second)
				require.Equal(t, Serving, s.proxy.current(), "the request has not expired, but is over")
				require.Contains(t, s.data.taken(), "resume")
				require.Equal(t, holdsVIP+"level=INFO msg=\"resumed: no handover is in progress\"\n", s.takeLog())
				require.True(t, fileExists(s.holder))

				id := s.bucket.announce(t, "i-newer", MaxWindow)
				advance(10 * time.Second)
				require.Equal(t, Draining, s.proxy.current(), "the next update works as usual")
				require.Equal(t, id, stored[HandoverAck](t, s.bucket, AckKey).Request)
			})
		})
	}
}

func TestSecondRequestIsAcknowledgedAndExtendsDraining(t *testing.T) {
	for _, successor := range []string{"i-new", "i-newer"} {
		t.Run(successor, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := start(t, vip)
				defer s.stop()
				first := s.bucket.announce(t, "i-new", time.Minute)
				advance(31 * time.Second)
				require.Equal(t, first, stored[HandoverAck](t, s.bucket, AckKey).Request)

				second := s.bucket.announce(t, successor, time.Minute)
				advance(time.Second)
				require.Equal(t, second, stored[HandoverAck](t, s.bucket, AckKey).Request,
					"visitors have been asked for long enough")
				advance(55 * time.Second)
				require.Equal(t, Draining, s.proxy.current(), "the first request has expired, the second has not")
				advance(10 * time.Second)
				require.Equal(t, Serving, s.proxy.current())
				require.Equal(t, []string{"release", "release", "resume"}, s.data.taken())
				require.Contains(t, s.takeLog(), "the successor did not take the VIP\" successor="+successor+"\n")
			})
		})
	}
}

func TestInvalidRequestIsIgnored(t *testing.T) {
	for name, announce := range map[string]func(t *testing.T, m *memory){
		"from this server": func(t *testing.T, m *memory) { m.announce(t, "i-old", time.Hour) },
		"expired":          func(t *testing.T, m *memory) { m.announce(t, "i-new", 0) },
		"another format":   func(_ *testing.T, m *memory) { m.write(RequestKey, `{"expires": 1}`) },
		"no ID": func(_ *testing.T, m *memory) {
			m.write(RequestKey, `{"server":"i-new","expires":"2038-01-19T00:00:00Z"}`)
		},
		"no server": func(_ *testing.T, m *memory) {
			m.write(RequestKey, `{"id":"1","expires":"2038-01-19T00:00:00Z"}`)
		},
		"no expiry": func(_ *testing.T, m *memory) { m.write(RequestKey, `{"id":"1","server":"i-new"}`) },
		"truncated": func(_ *testing.T, m *memory) { m.write(RequestKey, `{"id":"1","ser`) },
		"empty":     func(_ *testing.T, m *memory) { m.write(RequestKey, ``) },
		"too large": func(_ *testing.T, m *memory) { m.write(RequestKey, `{"id":"`+strings.Repeat("x", 1<<20)) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := start(t, vip)
				defer s.stop()
				advance(time.Second)
				s.bucket.takeRequests()
				announce(t, s.bucket)
				advance(time.Minute)
				require.Empty(t, writes(s.bucket.takeRequests()))
				require.Equal(t, Serving, s.proxy.current())
				require.Empty(t, s.data.taken())
				require.LessOrEqual(t, strings.Count(s.log.String(), "ignored an invalid handover request"), 1)

				id := s.bucket.announce(t, "i-new", time.Minute)
				advance(10 * time.Second)
				require.Equal(t, id, stored[HandoverAck](t, s.bucket, AckKey).Request, "the next request is followed")
			})
		})
	}
}

func TestInvalidRequestIsLoggedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := start(t, vip)
		defer s.stop()
		s.takeLog()
		s.bucket.write(RequestKey, "hello")
		advance(time.Hour)
		require.Equal(t, "level=WARN msg=\"ignored an invalid handover request\" "+
			"error=\"handover/announcement.json is invalid: invalid character 'h' looking for beginning of value\"\n",
			s.takeLog())
		s.bucket.write(RequestKey, "{}")
		advance(time.Minute)
		require.Equal(t, "level=WARN msg=\"ignored an invalid handover request\" "+
			"error=\"handover/announcement.json is invalid: a required field is missing\"\n", s.takeLog())
	})
}

func TestFailedAcknowledgmentIsRetried(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := start(t, vip)
		defer s.stop()
		s.bucket.fail("PUT "+AckKey, bucket.ErrDenied)
		id := s.bucket.announce(t, "i-new", time.Minute)
		advance(31 * time.Second)
		s.bucket.fail("PUT "+AckKey, nil)
		advance(2 * time.Second)
		require.Equal(t, id, stored[HandoverAck](t, s.bucket, AckKey).Request)
		require.Equal(t, 1, strings.Count(s.log.String(), "cannot acknowledge the handover request"))
		require.Equal(t, 1, strings.Count(s.log.String(), "handing over: "))
		require.Equal(t, 1, strings.Count(s.log.String(), "handed over"))
	})
}

func TestFailedAcknowledgmentDoesNotProlongDraining(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := start(t, vip)
		defer s.stop()
		s.bucket.fail("PUT "+AckKey, bucket.ErrDenied)
		s.bucket.announce(t, "i-new", time.Minute)
		advance(65 * time.Second)
		require.Equal(t, Serving, s.proxy.current())
		s.bucket.fail("PUT "+AckKey, nil)
		advance(time.Hour)
		require.Equal(t, HandoverAck{}, stored[HandoverAck](t, s.bucket, AckKey), "the request has expired")
	})
}

func TestFailedUploadIsNotAcknowledged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := start(t, vip)
		defer s.stop()
		s.data.onRelease(func(context.Context) error { return errors.New("half of it is missing") })
		id := s.bucket.announce(t, "i-new", time.Minute)
		advance(20 * time.Second)
		require.Equal(t, HandoverAck{}, stored[HandoverAck](t, s.bucket, AckKey))
		require.Equal(t, 1, strings.Count(s.log.String(), "cannot upload the last data\" error=\"half of it is missing\""))
		s.data.onRelease(nil)
		advance(2 * time.Second)
		require.Equal(t, id, stored[HandoverAck](t, s.bucket, AckKey).Request)
	})
}

func TestUploadEndsWhenTheRequestExpires(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := start(t, vip)
		defer s.stop()
		s.data.onRelease(func(ctx context.Context) error {
			<-ctx.Done()
			return ctx.Err()
		})
		s.bucket.announce(t, "i-new", time.Minute)
		advance(59 * time.Second)
		require.Equal(t, Draining, s.proxy.current())
		advance(5 * time.Second)
		require.Equal(t, Serving, s.proxy.current())
		require.Equal(t, []string{"release", "resume"}, s.data.taken())
	})
}

func TestFailedDrainingDoesNotBlockTheHandover(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := start(t, vip)
		defer s.stop()
		s.proxy.fail(errors.New("read-only file system"))
		id := s.bucket.announce(t, "i-new", time.Minute)
		advance(10 * time.Second)
		require.Equal(t, id, stored[HandoverAck](t, s.bucket, AckKey).Request)
		require.Contains(t, s.takeLog(),
			"level=WARN msg=\"cannot switch the proxy's state\" error=\"read-only file system\"\n")
	})
}

func TestChangedFailureIsLogged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := start(t, vip)
		defer s.stop()
		s.takeLog()
		begin := time.Now()
		for time.Since(begin) < 10*time.Minute {
			// Like S3: each response has its own request ID.
			s.bucket.fail("GET "+RequestKey, fmt.Errorf("status 503, request %s", time.Since(begin)))
			advance(2 * time.Second)
		}
		require.Equal(t, "level=WARN msg=\"cannot read the handover request\" error=\"status 503, request 0s\"\n",
			s.takeLog())
		s.bucket.fail("GET "+RequestKey, bucket.ErrDenied)
		advance(10 * time.Minute)
		require.Equal(t, "level=WARN msg=\"cannot read the handover request\" error=\"access denied\"\n", s.takeLog())
		s.bucket.fail("GET "+RequestKey, nil)
		advance(10 * time.Minute)
		require.Equal(t, "level=INFO msg=\"recovered: read the handover request\"\n", s.takeLog())
	})
}

func TestStartResumesAfterExpiredHandover(t *testing.T) {
	for name, prepare := range map[string]func(*server){
		"no request":                  func(*server) {},
		"expired request":             func(s *server) { s.bucket.announce(s.t, "i-new", 0) },
		"request of this server":      func(s *server) { s.bucket.announce(s.t, "i-old", time.Hour) },
		"invalid request":             func(s *server) { s.bucket.write(RequestKey, "hello") },
		"bucket unreachable at first": func(s *server) { s.bucket.fail("GET "+RequestKey, errors.New("no route to host")) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := start(t, vip, leaveDraining, prepare)
				defer s.stop()
				if strings.HasPrefix(name, "bucket") {
					advance(time.Minute)
					require.Equal(t, Draining, s.proxy.current(), "the request is not known yet")
					s.bucket.fail("GET "+RequestKey, nil)
					advance(2 * time.Second)
				}
				require.Equal(t, Serving, s.proxy.current())
				require.Equal(t, []string{"resume"}, s.data.taken())
				require.Contains(t, s.takeLog(), "level=INFO msg=\"resumed: no handover is in progress\"\n")
			})
		})
	}
}

func TestRestartedAgentContinuesTheHandover(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := start(t, vip)
		id := s.bucket.announce(t, "i-new", time.Minute)
		advance(3 * time.Second)
		s.restart()
		defer func() { s.stop() }()
		advance(4 * time.Second)
		require.Equal(t, id, stored[HandoverAck](t, s.bucket, AckKey).Request)
		require.Equal(t, Draining, s.proxy.current())
		s.restart()
		advance(30 * time.Second)
		require.Equal(t, Draining, s.proxy.current())
		advance(30 * time.Second)
		require.Equal(t, Serving, s.proxy.current())
	})
}

func TestReplacedServerSendsSignsOfLife(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := start(t, vip)
		defer s.stop()
		s.bucket.announce(t, "i-new", MaxWindow)
		advance(11 * time.Second)
		require.NotContains(t, s.bucket.takeRequests(), "PUT "+report.StandbyKey)
		s.cloud.answer(noAddress, nil)
		for range 10 {
			advance(report.StandbyPause + 2*time.Second)
			sign := stored[standbySign](t, s.bucket, report.StandbyKey)
			require.Equal(t, "i-old", sign.Server)
			require.WithinDuration(t, time.Now(), sign.Time, report.StandbyPause+2*time.Second)
		}
		require.LessOrEqual(t, len(writes(s.bucket.takeRequests())), 15)
		s.cloud.answer(vip, nil)
		advance(10 * time.Second)
		s.bucket.takeRequests()
		advance(time.Minute)
		require.NotContains(t, s.bucket.takeRequests(), "PUT "+report.StandbyKey)
	})
}

func TestReplacedServerStaysDrainedAfterRestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := start(t, noAddress, leaveDraining)
		defer s.stop()
		advance(time.Hour)
		require.Equal(t, Draining, s.proxy.current())
	})
}

func TestStoppedAgentEndsAtOnceAndLogsNothing(t *testing.T) {
	for name, moment := range map[string]time.Duration{"between checks": time.Second,
		"while visitors reconnect": 3 * time.Second} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := start(t, vip)
				advance(time.Second)
				s.bucket.announce(t, "i-new", time.Minute)
				advance(moment - time.Second)
				s.takeLog()
				begin := time.Now()
				s.stop()
				require.Zero(t, time.Since(begin))
				require.Empty(t, s.takeLog())
			})
		})
	}
}

func TestCertificatesAreRequestedOnlyByTheHolder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := start(t, otherAddress)
		defer s.stop()
		advance(time.Hour)
		require.Equal(t, []ProxyState{Waiting}, s.proxy.taken(), "a certificate authority would connect to another server")
		s.cloud.answer(vip, nil)
		advance(2 * time.Second)
		require.Equal(t, []ProxyState{Serving}, s.proxy.taken())
		advance(time.Hour)
		require.Empty(t, s.proxy.taken(), "the state is not set again without need")
		s.cloud.answer(noAddress, nil)
		advance(2 * time.Second)
		require.Equal(t, []ProxyState{Waiting}, s.proxy.taken())
	})
}

func TestCertificateIsRequestedWhileTheBucketIsUnreachable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := start(t, vip, func(s *server) {
			s.bucket.fail("PUT "+HolderKey, errors.New("no route to host"))
			s.bucket.fail("GET "+RequestKey, errors.New("no route to host"))
		})
		defer s.stop()
		require.Equal(t, Serving, s.proxy.current())
	})
}

func TestFailedSwitchOfStateIsRetried(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := start(t, vip, func(s *server) { s.proxy.err = errors.New("no space left on device") })
		defer s.stop()
		advance(time.Minute)
		require.Empty(t, s.proxy.taken())
		s.proxy.fail(nil)
		advance(2 * time.Second)
		require.Equal(t, []ProxyState{Serving}, s.proxy.taken())
		require.Equal(t, 1, strings.Count(s.log.String(), "cannot switch the proxy's state"))
	})
}

func TestRestartedAgentKeepsTheState(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := start(t, vip)
		advance(time.Minute)
		s.proxy.taken()
		s.restart()
		defer s.stop()
		advance(time.Hour)
		require.Empty(t, s.proxy.taken())
	})
}

func TestMissingCertificateIsRequestedWithBackoff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := start(t, vip, func(s *server) { s.certificates.miss("www.example.org") })
		defer s.stop()
		s.takeLog()
		var requestedAt []time.Duration
		for begin := time.Now(); time.Since(begin) < 6*time.Hour; advance(2 * time.Second) {
			for range s.proxy.taken() {
				requestedAt = append(requestedAt, time.Since(begin))
			}
		}
		require.Equal(t, []time.Duration{
			0, 2 * time.Minute, 6 * time.Minute, 14 * time.Minute, 30 * time.Minute, 62 * time.Minute,
			122 * time.Minute, 182 * time.Minute, 242 * time.Minute, 302 * time.Minute,
		}, requestedAt, "five times in the first hour, as Let's Encrypt allows")
		require.Equal(t, len(requestedAt)-1,
			strings.Count(s.log.String(), "certificates are missing: requesting them again\" names=www.example.org retryIn="))

		s.certificates.miss()
		s.takeLog()
		advance(24 * time.Hour)
		require.Empty(t, s.proxy.taken())
		require.Equal(t, "level=INFO msg=\"all certificates are present\"\n", s.takeLog())
		require.Less(t, s.certificates.checks, 40, "existing certificates are checked once an hour")
	})
}

func TestUnreadableCertificatesAreLoggedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := start(t, vip, func(s *server) { s.certificates.err = errors.New("acme.json is invalid") })
		defer s.stop()
		s.proxy.taken()
		advance(time.Hour)
		require.Empty(t, s.proxy.taken())
		require.Equal(t, 1, strings.Count(s.log.String(), "cannot check the certificates"))
	})
}

func TestMissingCertificatesDoNotDisturbHandover(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := start(t, vip, func(s *server) { s.certificates.miss("example.org") })
		defer s.stop()
		s.bucket.announce(t, "i-new", MaxWindow)
		advance(9 * time.Minute)
		require.Equal(t, []ProxyState{Serving, Draining}, s.proxy.taken())
	})
}

// A writer with access to the records tries to make this server drain forever.
func TestRequestThatExpiresIn9999IsCapped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := start(t, vip)
		defer s.stop()
		s.data.onRelease(func(context.Context) error { return bucket.ErrDenied })
		s.bucket.write(RequestKey,
			`{"id":"x","server":"i-evil","announced":"9998-01-01T00:00:00Z","expires":"9999-12-31T23:59:59Z"}`)
		advance(time.Minute)
		require.Equal(t, Draining, s.proxy.current())
		require.Contains(t, s.log.String(), "capped the expiry of a handover request")
		advance(MaxWindow)
		require.Equal(t, Serving, s.proxy.current())
		advance(time.Hour)
		require.Equal(t, Serving, s.proxy.current(), "and it is not drained again")
		require.Less(t, strings.Count(s.log.String(), "\n"), 20)
	})
}

func TestUnreadableRequestDoesNotFillTheLog(t *testing.T) {
	for name, text := range map[string]string{
		"too large":           strings.Repeat("x", 5_000),
		"a list":              "[]",
		"a time out of range": `{"id":"x","server":"i-evil","expires":"99999-12-31T23:59:59Z"}`,
		"a command to CI":     `{"id":"x","server":"\n::stop-commands::","expires":"2999-12-31T23:59:59Z"}`,
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := start(t, vip)
				defer s.stop()
				s.bucket.write(RequestKey, text)
				advance(time.Hour)
				require.Equal(t, Serving, s.proxy.current())
				require.Less(t, strings.Count(s.log.String(), "\n"), 5)
			})
		})
	}
}

func fuzzRecord[R record](f *testing.F) {
	for _, seed := range []string{
		`{"server":"i-1"}`, `{"id":"x","server":"i-1","announced":"2026-01-01T00:00:00Z","expires":"9999-01-01T00:00:00Z"}`,
		`{"announcement":"x","server":"i-1"}`, "[]", "null",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		bucket := newMemory()
		bucket.write("key", string(text))
		fetched, _, err := read[R](t.Context(), bucket, "key", "")
		require.Equal(t, err == nil, fetched.complete() && err == nil)
		if err != nil {
			require.ErrorIs(t, err, errInvalid)
		}
	})
}

func FuzzHolder(f *testing.F)          { fuzzRecord[Holder](f) }
func FuzzHandoverRequest(f *testing.F) { fuzzRecord[HandoverRequest](f) }
func FuzzHandoverAck(f *testing.F)     { fuzzRecord[HandoverAck](f) }
