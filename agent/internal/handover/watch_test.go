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
)

const hasIt = "level=INFO msg=\"this server holds the VIP\" vip=198.51.100.7\n"

func TestAServerThatHasTheVIPRecordsItOnce(t *testing.T) {
	defer syscall.Umask(syscall.Umask(0o022)) // systemd's
	synctest.Test(t, func(t *testing.T) {
		s := start(t, vip)
		defer s.stop()
		require.Equal(t, Holder{Server: "i-old", Since: time.Now().UTC()}, stored[Holder](t, s.bucket, HolderKey))
		require.True(t, fileExists(s.holder))
		stat, err := os.Stat(s.holder)
		require.NoError(t, err)
		require.Equal(t, os.FileMode(0o644), stat.Mode().Perm())

		after(time.Hour)
		require.Equal(t, []string{"PUT " + HolderKey}, writes(s.bucket.takeRequests()))
		require.Equal(t, hasIt, s.takeLog(), "an uneventful hour is not worth a line")
		require.Equal(t, Serving, s.proxy.is())
	})
}

func TestAServerWithoutTheVIPLeavesTheBucketAlone(t *testing.T) {
	for name, address := range map[string]netip.Addr{"another address": another, "no address": none} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := start(t, address, func(s *server) { require.NoError(t, os.WriteFile(s.holder, nil, 0o644)) })
				defer s.stop()
				s.bucket.announce(t, "i-new", MaxWindow)
				after(time.Minute)
				require.Empty(t, s.bucket.takeRequests())
				require.False(t, fileExists(s.holder), "also when it is left from a time when the server had it")
				require.Equal(t, Waiting, s.proxy.is())
				require.Equal(t, "level=INFO msg=\"this server does not hold the VIP\" vip=198.51.100.7\n", s.takeLog())
			})
		})
	}
}

func TestEachArrivalOfTheVIPIsRecorded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := start(t, another)
		defer s.stop()
		begin := time.Now().UTC()
		after(59 * time.Second)
		s.cloud.answer(vip, nil)
		after(time.Second)
		require.Equal(t, Holder{Server: "i-old", Since: begin.Add(time.Minute)}, stored[Holder](t, s.bucket, HolderKey))
		require.True(t, fileExists(s.holder))

		s.cloud.answer(another, nil)
		after(2 * time.Second)
		require.False(t, fileExists(s.holder))
		require.Equal(t, "i-old", stored[Holder](t, s.bucket, HolderKey).Server, "to say who has it now is up to that one")

		s.bucket.takeRequests()
		s.cloud.answer(vip, nil)
		after(10 * time.Second)
		require.Equal(t, []string{"PUT " + HolderKey}, writes(s.bucket.takeRequests()))
		require.True(t, fileExists(s.holder))
	})
}

// Backups read in the record which server may write.
func TestHolderIsRecordedAgainInEmptiedBucket(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := start(t, vip)
		defer s.stop()
		s.takeLog()
		s.bucket.delete(HolderKey)
		after(time.Minute)
		require.Equal(t, "i-old", stored[Holder](t, s.bucket, HolderKey).Server)
		require.Equal(t, "level=WARN msg=\"the holder record is missing or invalid: rewriting it\"\n", s.takeLog())

		s.bucket.write(HolderKey, `{"server":"i-new","since":"2026-11-23T04:39:21Z"}`)
		after(holderPause)
		require.Equal(t, "i-new", stored[Holder](t, s.bucket, HolderKey).Server, "a later record may be right")
		after(holderPause)
		require.Equal(t, "i-old", stored[Holder](t, s.bucket, HolderKey).Server, "it does not: this server is asked")
		for _, text := range []string{"", "[]", `{"server":"\n::stop-commands::"}`, strings.Repeat("x", 5_000)} {
			s.bucket.write(HolderKey, text)
			after(holderPause)
			require.Equal(t, "i-old", stored[Holder](t, s.bucket, HolderKey).Server)
		}

		s.bucket.delete(HolderKey)
		s.cloud.answer(none, errors.New("timeout"))
		after(10 * time.Minute)
		require.Empty(t, stored[Holder](t, s.bucket, HolderKey).Server, "it does not know whether it still has it")
	})
}

func TestANewProcessRecordsTheVIPOnceMore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := start(t, vip)
		after(time.Minute)
		s.restart()
		defer s.stop()
		require.Equal(t, []string{"PUT " + HolderKey, "PUT " + HolderKey}, writes(s.bucket.takeRequests()))
	})
}

func TestTheBootstrapLoginStaysUntilTheVIPIsRecorded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := start(t, vip, func(s *server) { s.bucket.fail("PUT "+HolderKey, errors.New("no route to host")) })
		defer s.stop()
		after(time.Minute)
		require.False(t, fileExists(s.holder))
		s.bucket.fail("PUT "+HolderKey, nil)
		after(2 * time.Second)
		require.True(t, fileExists(s.holder))
		require.Equal(t, hasIt+
			"level=WARN msg=\"cannot record that this server holds the VIP\" error=\"no route to host\"\n"+
			"level=INFO msg=\"recovered: record that this server holds the VIP\"\n", s.takeLog())
	})
}

func TestASilentMetadataServiceChangesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := start(t, none, func(s *server) { s.cloud.answer(none, errors.New("timeout")) })
		defer s.stop()
		after(time.Minute)
		require.Empty(t, s.bucket.takeRequests(), "whether it has the VIP is not known yet")

		s.cloud.answer(vip, nil)
		after(2 * time.Second)
		require.True(t, fileExists(s.holder))
		s.bucket.takeRequests()
		s.cloud.answer(none, errors.New("timeout"))
		after(time.Minute)
		require.True(t, fileExists(s.holder))
		require.Empty(t, writes(s.bucket.takeRequests()))
		id := s.bucket.announce(t, "i-new", time.Minute)
		after(10 * time.Second)
		require.Equal(t, id, stored[HandoverAck](t, s.bucket, AckKey).Request, "it continues the handover")
		require.Equal(t, 2, strings.Count(s.log.String(), "cannot ask the metadata service"))
		require.Equal(t, 1, strings.Count(s.log.String(), "recovered: ask the metadata service"))
	})
}

func TestAnAnnouncedSuccessorIsHandedOverTo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := start(t, vip)
		defer s.stop()
		after(time.Second)
		s.takeLog()
		s.bucket.takeRequests()
		id := s.bucket.announce(t, "i-new", 2*time.Minute)

		after(time.Second)
		require.Equal(t, Draining, s.proxy.is(), "visitors are asked to reconnect at the next check")
		require.Empty(t, s.data.taken())

		after(2900 * time.Millisecond)
		require.Empty(t, s.data.taken(), "visitors have three seconds to do so")
		require.Equal(t, HandoverAck{}, stored[HandoverAck](t, s.bucket, AckKey))
		answered := s.data.taken
		s.data.onRelease(func(context.Context) error {
			require.Equal(t, HandoverAck{}, stored[HandoverAck](t, s.bucket, AckKey), "the answer comes after the data")
			return nil
		})
		after(100 * time.Millisecond)
		require.Equal(t, []string{"release"}, answered())
		require.Equal(t, HandoverAck{Request: id, Server: "i-old", Acknowledged: time.Now().UTC()},
			stored[HandoverAck](t, s.bucket, AckKey))

		after(20 * time.Second)
		require.Equal(t, []string{"PUT " + AckKey}, writes(s.bucket.takeRequests()), "one answer is enough")
		s.cloud.answer(another, nil)
		after(time.Hour)
		require.Equal(t, Draining, s.proxy.is(), "a replaced server does not change")
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
		after(119 * time.Second)
		require.Equal(t, Draining, s.proxy.is())
		s.takeLog()
		// A check begins at most one check's length later.
		after(3 * time.Second)
		require.Equal(t, Serving, s.proxy.is())
		require.Equal(t, []string{"release", "resume"}, s.data.taken())
		require.Equal(t, "level=WARN msg=\"resumed: the successor did not take the VIP\" successor=i-new\n", s.takeLog())

		after(time.Hour)
		require.Equal(t, Serving, s.proxy.is())
		require.Equal(t, []string{"release", "resume"}, s.data.taken())
		require.Empty(t, s.takeLog())
	})
}

func TestServerContinuesWhileTheBucketIsUnreachable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := start(t, vip)
		defer s.stop()
		s.bucket.announce(t, "i-new", time.Minute)
		after(10 * time.Second)
		require.Equal(t, Draining, s.proxy.is())
		s.bucket.fail("GET "+RequestKey, errors.New("no route to host"))
		after(time.Minute)
		require.Equal(t, Serving, s.proxy.is())
	})
}

func TestAServerThatGetsTheVIPBackServesAsBefore(t *testing.T) {
	for name, answers := range map[string]bool{"after it answered": true, "though it could not answer": false} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := start(t, vip)
				defer s.stop()
				if !answers {
					s.bucket.fail("PUT "+AckKey, bucket.ErrDenied)
				}
				s.bucket.announce(t, "i-new", MaxWindow)
				after(11 * time.Second)
				s.cloud.answer(none, nil)
				after(20 * time.Second)
				require.Equal(t, Draining, s.proxy.is())
				s.takeLog()

				s.bucket.fail("PUT "+AckKey, nil)
				s.cloud.answer(vip, nil)
				after(10 * time.Second)
				require.Equal(t, Serving, s.proxy.is(), "the announcement is in force, and over nevertheless")
				require.Contains(t, s.data.taken(), "resume")
				require.Equal(t, hasIt+"level=INFO msg=\"resumed: no handover is in progress\"\n", s.takeLog())
				require.True(t, fileExists(s.holder))

				id := s.bucket.announce(t, "i-newer", MaxWindow)
				after(10 * time.Second)
				require.Equal(t, Draining, s.proxy.is(), "the next update is as any other")
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
				after(31 * time.Second)
				require.Equal(t, first, stored[HandoverAck](t, s.bucket, AckKey).Request)

				second := s.bucket.announce(t, successor, time.Minute)
				after(time.Second)
				require.Equal(t, second, stored[HandoverAck](t, s.bucket, AckKey).Request,
					"visitors have been asked for long enough")
				after(55 * time.Second)
				require.Equal(t, Draining, s.proxy.is(), "the first announcement has expired, the second has not")
				after(10 * time.Second)
				require.Equal(t, Serving, s.proxy.is())
				require.Equal(t, []string{"release", "release", "resume"}, s.data.taken())
				require.Contains(t, s.takeLog(), "the successor did not take the VIP\" successor="+successor+"\n")
			})
		})
	}
}

func TestRequestThatIsNoSuccessorsIsIgnored(t *testing.T) {
	for name, announce := range map[string]func(t *testing.T, m *memory){
		"this server itself":    func(t *testing.T, m *memory) { m.announce(t, "i-old", time.Hour) },
		"one that is too late":  func(t *testing.T, m *memory) { m.announce(t, "i-new", 0) },
		"one of another format": func(_ *testing.T, m *memory) { m.write(RequestKey, `{"expires": 1}`) },
		"one without an id": func(_ *testing.T, m *memory) {
			m.write(RequestKey, `{"server":"i-new","expires":"2038-01-19T00:00:00Z"}`)
		},
		"one without a server": func(_ *testing.T, m *memory) {
			m.write(RequestKey, `{"id":"1","expires":"2038-01-19T00:00:00Z"}`)
		},
		"one without an end": func(_ *testing.T, m *memory) { m.write(RequestKey, `{"id":"1","server":"i-new"}`) },
		"half of one":        func(_ *testing.T, m *memory) { m.write(RequestKey, `{"id":"1","ser`) },
		"nothing":            func(_ *testing.T, m *memory) { m.write(RequestKey, ``) },
		"far too much":       func(_ *testing.T, m *memory) { m.write(RequestKey, `{"id":"`+strings.Repeat("x", 1<<20)) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := start(t, vip)
				defer s.stop()
				after(time.Second)
				s.bucket.takeRequests()
				announce(t, s.bucket)
				after(time.Minute)
				require.Empty(t, writes(s.bucket.takeRequests()))
				require.Equal(t, Serving, s.proxy.is())
				require.Empty(t, s.data.taken())
				require.LessOrEqual(t, strings.Count(s.log.String(), "ignored an invalid handover request"), 1)

				id := s.bucket.announce(t, "i-new", time.Minute)
				after(10 * time.Second)
				require.Equal(t, id, stored[HandoverAck](t, s.bucket, AckKey).Request, "the next one counts")
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
		after(time.Hour)
		require.Equal(t, "level=WARN msg=\"ignored an invalid handover request\" "+
			"error=\"handover/announcement.json is invalid: invalid character 'h' looking for beginning of value\"\n",
			s.takeLog())
		s.bucket.write(RequestKey, "{}")
		after(time.Minute)
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
		after(31 * time.Second)
		s.bucket.fail("PUT "+AckKey, nil)
		after(2 * time.Second)
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
		after(65 * time.Second)
		require.Equal(t, Serving, s.proxy.is())
		s.bucket.fail("PUT "+AckKey, nil)
		after(time.Hour)
		require.Equal(t, HandoverAck{}, stored[HandoverAck](t, s.bucket, AckKey), "the request has expired")
	})
}

func TestFailedUploadIsNotAcknowledged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := start(t, vip)
		defer s.stop()
		s.data.onRelease(func(context.Context) error { return errors.New("half of it is missing") })
		id := s.bucket.announce(t, "i-new", time.Minute)
		after(20 * time.Second)
		require.Equal(t, HandoverAck{}, stored[HandoverAck](t, s.bucket, AckKey))
		require.Equal(t, 1, strings.Count(s.log.String(), "cannot upload the last data\" error=\"half of it is missing\""))
		s.data.onRelease(nil)
		after(2 * time.Second)
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
		after(59 * time.Second)
		require.Equal(t, Draining, s.proxy.is())
		after(5 * time.Second)
		require.Equal(t, Serving, s.proxy.is())
		require.Equal(t, []string{"release", "resume"}, s.data.taken())
	})
}

func TestFailedDrainingDoesNotBlockTheHandover(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := start(t, vip)
		defer s.stop()
		s.proxy.fail(errors.New("read-only file system"))
		id := s.bucket.announce(t, "i-new", time.Minute)
		after(10 * time.Second)
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
			after(2 * time.Second)
		}
		require.Equal(t, "level=WARN msg=\"cannot read the handover request\" error=\"status 503, request 0s\"\n",
			s.takeLog())
		s.bucket.fail("GET "+RequestKey, bucket.ErrDenied)
		after(10 * time.Minute)
		require.Equal(t, "level=WARN msg=\"cannot read the handover request\" error=\"access denied\"\n", s.takeLog())
		s.bucket.fail("GET "+RequestKey, nil)
		after(10 * time.Minute)
		require.Equal(t, "level=INFO msg=\"recovered: read the handover request\"\n", s.takeLog())
	})
}

func TestStartResumesAfterExpiredHandover(t *testing.T) {
	for name, prepare := range map[string]func(*server){
		"no announcement":             func(*server) {},
		"one that has expired":        func(s *server) { s.bucket.announce(s.t, "i-new", 0) },
		"one of this server":          func(s *server) { s.bucket.announce(s.t, "i-old", time.Hour) },
		"one that is not understood":  func(s *server) { s.bucket.write(RequestKey, "hello") },
		"a bucket that comes up late": func(s *server) { s.bucket.fail("GET "+RequestKey, errors.New("no route to host")) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := start(t, vip, leaveDraining, prepare)
				defer s.stop()
				if strings.HasPrefix(name, "a bucket") {
					after(time.Minute)
					require.Equal(t, Draining, s.proxy.is(), "the request is not known yet")
					s.bucket.fail("GET "+RequestKey, nil)
					after(2 * time.Second)
				}
				require.Equal(t, Serving, s.proxy.is())
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
		after(3 * time.Second)
		s.restart()
		defer func() { s.stop() }()
		after(4 * time.Second)
		require.Equal(t, id, stored[HandoverAck](t, s.bucket, AckKey).Request)
		require.Equal(t, Draining, s.proxy.is())
		s.restart()
		after(30 * time.Second)
		require.Equal(t, Draining, s.proxy.is())
		after(30 * time.Second)
		require.Equal(t, Serving, s.proxy.is())
	})
}

func TestAReplacedServerStaysDrainedThroughARestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := start(t, none, leaveDraining)
		defer s.stop()
		after(time.Hour)
		require.Equal(t, Draining, s.proxy.is())
	})
}

func TestAnAgentThatIsStoppedEndsAtOnceAndSaysNothing(t *testing.T) {
	for name, moment := range map[string]time.Duration{"between looks": time.Second,
		"while visitors reconnect": 3 * time.Second} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := start(t, vip)
				after(time.Second)
				s.bucket.announce(t, "i-new", time.Minute)
				after(moment - time.Second)
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
		s := start(t, another)
		defer s.stop()
		after(time.Hour)
		require.Equal(t, []ProxyState{Waiting}, s.proxy.taken(), "a certificate authority would ask another server")
		s.cloud.answer(vip, nil)
		after(2 * time.Second)
		require.Equal(t, []ProxyState{Serving}, s.proxy.taken())
		after(time.Hour)
		require.Empty(t, s.proxy.taken(), "nothing is switched without need")
		s.cloud.answer(none, nil)
		after(2 * time.Second)
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
		require.Equal(t, Serving, s.proxy.is())
	})
}

func TestFailedSwitchOfStateIsRetried(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := start(t, vip, func(s *server) { s.proxy.err = errors.New("no space left on device") })
		defer s.stop()
		after(time.Minute)
		require.Empty(t, s.proxy.taken())
		s.proxy.fail(nil)
		after(2 * time.Second)
		require.Equal(t, []ProxyState{Serving}, s.proxy.taken())
		require.Equal(t, 1, strings.Count(s.log.String(), "cannot switch the proxy's state"))
	})
}

func TestRestartedAgentKeepsTheState(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := start(t, vip)
		after(time.Minute)
		s.proxy.taken()
		s.restart()
		defer s.stop()
		after(time.Hour)
		require.Empty(t, s.proxy.taken())
	})
}

func TestMissingCertificateIsRequestedWithBackoff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := start(t, vip, func(s *server) { s.certificates.miss("www.example.org") })
		defer s.stop()
		s.takeLog()
		var asked []time.Duration
		for begin := time.Now(); time.Since(begin) < 6*time.Hour; after(2 * time.Second) {
			for range s.proxy.taken() {
				asked = append(asked, time.Since(begin))
			}
		}
		require.Equal(t, []time.Duration{
			0, 2 * time.Minute, 6 * time.Minute, 14 * time.Minute, 30 * time.Minute, 62 * time.Minute,
			122 * time.Minute, 182 * time.Minute, 242 * time.Minute, 302 * time.Minute,
		}, asked, "five times in the first hour, which is what Let's Encrypt forgives")
		require.Equal(t, len(asked)-1,
			strings.Count(s.log.String(), "certificates are missing: requesting them again\" names=www.example.org retryIn="))

		s.certificates.miss()
		s.takeLog()
		after(24 * time.Hour)
		require.Empty(t, s.proxy.taken())
		require.Equal(t, "level=INFO msg=\"all certificates are present\"\n", s.takeLog())
		require.Less(t, s.certificates.checks, 40, "existing certificates are checked once an hour")
	})
}

func TestUnreadableCertificatesAreLoggedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := start(t, vip, func(s *server) { s.certificates.err = errors.New("acme.json is not understood") })
		defer s.stop()
		s.proxy.taken()
		after(time.Hour)
		require.Empty(t, s.proxy.taken())
		require.Equal(t, 1, strings.Count(s.log.String(), "cannot check the certificates"))
	})
}

func TestMissingCertificatesDoNotDisturbHandover(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := start(t, vip, func(s *server) { s.certificates.miss("example.org") })
		defer s.stop()
		s.bucket.announce(t, "i-new", MaxWindow)
		after(9 * time.Minute)
		require.Equal(t, []ProxyState{Serving, Draining}, s.proxy.taken())
	})
}

// A writer with access to the records wants this server to drain forever.
func TestAnAnnouncementThatExpiresIn9999IsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := start(t, vip)
		defer s.stop()
		s.data.onRelease(func(context.Context) error { return bucket.ErrDenied })
		s.bucket.write(RequestKey,
			`{"id":"x","server":"i-evil","announced":"9998-01-01T00:00:00Z","expires":"9999-12-31T23:59:59Z"}`)
		after(time.Minute)
		require.Equal(t, Draining, s.proxy.is())
		require.Contains(t, s.log.String(), "capped the expiry of a handover request")
		after(MaxWindow)
		require.Equal(t, Serving, s.proxy.is())
		after(time.Hour)
		require.Equal(t, Serving, s.proxy.is(), "and it is not drained again")
		require.Less(t, strings.Count(s.log.String(), "\n"), 20)
	})
}

func TestAnAnnouncementThatCannotBeReadDoesNotFillTheLog(t *testing.T) {
	for name, text := range map[string]string{
		"far too much":        strings.Repeat("x", 5_000),
		"a list":              "[]",
		"a time out of range": `{"id":"x","server":"i-evil","expires":"99999-12-31T23:59:59Z"}`,
		"a command to CI":     `{"id":"x","server":"\n::stop-commands::","expires":"2999-12-31T23:59:59Z"}`,
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := start(t, vip)
				defer s.stop()
				s.bucket.write(RequestKey, text)
				after(time.Hour)
				require.Equal(t, Serving, s.proxy.is())
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
