package favorite

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"backbeat/app/cache"
	"backbeat/app/errs"
)

const (
	// redisBudget bounds one call, so that a stalled Redis delays a request no more. A
	// reading gets three quarters of it: less than a gateway's first try, which then
	// still has what the rows say.
	redisBudget = 100 * time.Millisecond
	// redisFailures in a row let readings rest: more than there are of a Redis that is
	// only late, since who does not read the entries sees nothing of likes on their way.
	redisFailures = 8
)

// RedisPending is Pending on Redis, for instances that share it: a hash per user
// holds the entries of a video under its id, newest first, each as
// "version,liked,author,provisional,expires;". Scripts make each step atomic, and
// Redis's own clock decides what has expired. Its errors are Unavailable.
type RedisPending struct {
	client redis.UniversalClient
	lapses *cache.Lapses
	lives  lives
	budget time.Duration
	// reading is the breaker of readings.
	reading cache.Breaker
}

// NewRedisPending returns the Pending on the server that client reaches.
func NewRedisPending(client redis.UniversalClient) *RedisPending {
	return &RedisPending{
		client: client, lapses: cache.WatchLapses(client), lives: usualLives, budget: redisBudget,
		reading: cache.Breaker{After: redisFailures},
	}
}

// prelude is shared by the scripts. load drops what has expired; numbers are
// written with %.0f because Lua's own form loses digits.
const prelude = `
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)

local function load(packed)
  local entries = {}
  for version, liked, author, provisional, expires in string.gmatch(packed or '', '(%d+),(%d),(%d+),(%d),(%d+);') do
    if tonumber(expires) > now then
      entries[#entries + 1] = {version = tonumber(version), liked = liked, author = author,
        provisional = provisional, expires = tonumber(expires)}
    end
  end
  return entries
end

local function pack(entries)
  local packed = {}
  for i, e in ipairs(entries) do
    packed[i] = string.format('%.0f,%s,%s,%s,%.0f;', e.version, e.liked, e.author, e.provisional, e.expires)
  end
  return table.concat(packed)
end

local function save(video, entries)
  if #entries == 0 then
    redis.call('HDEL', KEYS[1], video)
  else
    redis.call('HSET', KEYS[1], video, pack(entries))
  end
end

-- mark gives the user a mark that none of theirs in use is, version if it is free.
local function mark(version, expires)
  local last = load(redis.call('HGET', KEYS[1], '0'))
  if #last > 0 then
    version = math.max(version, last[1].version + 1)
  end
  save('0', {{version = version, liked = '0', author = '0', provisional = '0', expires = expires}})
end

-- clean drops the videos of which all has expired, and returns when the rest of them
-- has: packed entries by video, all there are. It reads no more of them than that.
local function clean(all)
  local last, gone = 0, {}
  for video, packed in pairs(all) do
    local expires = 0
    for e in string.gmatch(packed, ',(%d+);') do
      expires = math.max(expires, tonumber(e))
    end
    if expires <= now then
      gone[#gone + 1] = video
    end
    last = math.max(last, expires)
  end
  if #gone > 0 then
    redis.call('HDEL', KEYS[1], unpack(gone))
  end
  return last
end

local function everything()
  local all, flat = {}, redis.call('HGETALL', KEYS[1])
  for i = 1, #flat, 2 do
    all[flat[i]] = flat[i + 1]
  end
  return all
end
`

// allocateScript takes video, proposed version, liked, author, the row's version
// and liked, the provisional life and the two bounds. It returns
// whether the entry was made, its version and the state known before.
var allocateScript = redis.NewScript(prelude + `
local video, proposed, liked, author = ARGV[1], tonumber(ARGV[2]), ARGV[3], ARGV[4]
local version, known = tonumber(ARGV[5]), ARGV[6]
local entries = load(redis.call('HGET', KEYS[1], video))
if #entries > 0 and entries[1].version > version then
  version, known = entries[1].version, entries[1].liked
end
if #entries == 0 and redis.call('HLEN', KEYS[1]) >= tonumber(ARGV[8]) then
  clean(everything())
  if redis.call('HLEN', KEYS[1]) >= tonumber(ARGV[8]) then
    return {0, string.format('%.0f', version), known}
  end
end
if #entries >= tonumber(ARGV[9]) then
  return {0, string.format('%.0f', version), known}
end
version = math.max(proposed, version + 1)
table.insert(entries, 1, {version = version, liked = liked, author = author,
  provisional = '1', expires = now + tonumber(ARGV[7])})
save(video, entries)
if redis.call('PTTL', KEYS[1]) < tonumber(ARGV[7]) then
  redis.call('PEXPIRE', KEYS[1], ARGV[7])
end
return {1, string.format('%.0f', version), known}
`)

// keepScript takes video, version and the kept life.
var keepScript = redis.NewScript(prelude + `
local video, version = ARGV[1], tonumber(ARGV[2])
local entries, kept = load(redis.call('HGET', KEYS[1], video)), {}
for _, e in ipairs(entries) do
  kept[#kept + 1] = e
  if e.version == version then
    if e.provisional == '1' then
      e.provisional, e.expires = '0', now + tonumber(ARGV[3])
      if redis.call('PTTL', KEYS[1]) < tonumber(ARGV[3]) then
        redis.call('PEXPIRE', KEYS[1], ARGV[3])
      end
    end
    break
  end
end
save(video, kept)
return 1
`)

// takeBackScript takes video and version.
var takeBackScript = redis.NewScript(prelude + `
local video, version = ARGV[1], tonumber(ARGV[2])
local kept = {}
for _, e in ipairs(load(redis.call('HGET', KEYS[1], video))) do
  if e.version ~= version then
    kept[#kept + 1] = e
  end
end
save(video, kept)
return 1
`)

// settleScript takes the settled life, then videos and versions in turn. Among many
// entries it cleans only now and then, so that it costs everybody the same; until it
// does, their hash outlives them.
var settleScript = redis.NewScript(prelude + `
local soon = now + tonumber(ARGV[1])
local settled, unknown = {}, false
for i = 2, #ARGV, 2 do
  local video, version, entered = ARGV[i], tonumber(ARGV[i + 1]), false
  local entries = load(redis.call('HGET', KEYS[1], video))
  for _, e in ipairs(entries) do
    entered = entered or e.version == version
    if e.version <= version then
      e.provisional, e.expires = '0', math.min(e.expires, soon)
    end
  end
  if #entries > 0 then
    settled[#settled + 1] = video
    settled[#settled + 1] = pack(entries)
  end
  unknown = unknown or not entered
end
if #settled > 0 then
  redis.call('HSET', KEYS[1], unpack(settled))
end
if unknown then
  mark(clock[1] * 1000000 + clock[2], soon)
end
local few, size = 16, redis.call('HLEN', KEYS[1])
if size <= few or unknown or clock[2] % size < few then
  local last = clean(everything())
  if last > 0 then
    redis.call('PEXPIREAT', KEYS[1], string.format('%.0f', last))
  end
end
return 1
`)

// leaveScript takes the mark and the settled life.
var leaveScript = redis.NewScript(prelude + `
mark(tonumber(ARGV[1]), now + tonumber(ARGV[2]))
if redis.call('PTTL', KEYS[1]) < tonumber(ARGV[2]) then
  redis.call('PEXPIRE', KEYS[1], ARGV[2])
end
return 1
`)

func (r *RedisPending) allocate(ctx context.Context, acts []proposal) ([]allocation, error) {
	calls := make([]call, len(acts))
	for i, p := range acts {
		calls[i] = call{p.act.user, []any{
			p.act.video, p.act.version, flag(p.act.liked), p.act.author, p.row.version, flag(p.row.liked),
			r.lives.provisional.Milliseconds(), maxVideos, maxEntries,
		}}
	}
	replies, err := r.runAll(ctx, allocateScript, calls)
	if err != nil {
		return nil, errs.Wrap(errs.Unavailable, err, "allocating versions of %d likes", len(acts))
	}
	made := make([]allocation, len(acts))
	for i, reply := range replies {
		numbers, err := parse(reply)
		if err != nil || len(numbers) != 3 {
			return nil, errs.Wrap(errs.Internal, fmt.Errorf("unexpected reply %v", reply), "allocating versions of %d likes", len(acts))
		}
		made[i] = allocation{version: numbers[1], liked: numbers[2] == 1, full: numbers[0] == 0}
	}
	return made, nil
}

func (r *RedisPending) keep(ctx context.Context, acts []write) error {
	calls := make([]call, len(acts))
	for i, act := range acts {
		calls[i] = call{act.user, []any{act.video, act.version, r.lives.kept.Milliseconds()}}
	}
	_, err := r.runAll(ctx, keepScript, calls)
	return errs.Wrap(errs.Unavailable, err, "keeping %d pending likes", len(acts))
}

func (r *RedisPending) takeBack(ctx context.Context, acts []write) error {
	calls := make([]call, len(acts))
	for i, act := range acts {
		calls[i] = call{act.user, []any{act.video, act.version}}
	}
	_, err := r.runAll(ctx, takeBackScript, calls)
	return errs.Wrap(errs.Unavailable, err, "taking back %d pending likes", len(acts))
}

func (r *RedisPending) settle(ctx context.Context, applied []write) error {
	at := map[int64]int{}
	var calls []call
	for _, w := range applied {
		i, known := at[w.user]
		if !known {
			i = len(calls)
			at[w.user] = i
			calls = append(calls, call{w.user, []any{r.lives.settled.Milliseconds()}})
		}
		calls[i].args = append(calls[i].args, w.video, w.version)
	}
	_, err := r.runAll(ctx, settleScript, calls)
	return errs.Wrap(errs.Unavailable, err, "settling %d pending likes", len(applied))
}

// of reads the hashes in one round trip. The clock is read first, so that no entry
// is taken for expired too early.
func (r *RedisPending) of(ctx context.Context, users ...int64) ([]view, error) {
	if !r.reading.Allows(time.Now()) {
		return nil, errs.Wrap(errs.Unavailable, errors.New("redis rests"), "reading pending likes of %d users", len(users))
	}
	caller := ctx
	ctx, cancel := context.WithTimeout(ctx, r.budget*3/4)
	defer cancel()
	pipe := r.client.Pipeline()
	clock := pipe.Time(ctx)
	hashes := make([]*redis.MapStringStringCmd, len(users))
	for i, user := range users {
		hashes[i] = pipe.HGetAll(ctx, pendingKey(user))
	}
	if _, err := pipe.Exec(ctx); err != nil {
		r.reading.Failed(caller, time.Now())
		return nil, errs.Wrap(errs.Unavailable, err, "reading pending likes of %d users", len(users))
	}
	r.reading.Succeeded()
	now, epoch := clock.Val().UnixMilli(), r.lapses.Epoch()
	views := make([]view, len(users))
	for i, user := range users {
		views[i].mark.epoch = epoch
		for field, packed := range hashes[i].Val() {
			newest, err := unpack(user, field, packed, now)
			switch {
			case err != nil:
				return nil, errs.Wrap(errs.Internal, err, "reading pending likes of user %d", user)
			case newest.version == 0: // all have expired
			case newest.video == noVideo:
				views[i].mark.left = newest.version
			default:
				views[i].writes = append(views[i].writes, newest)
			}
		}
	}
	return views, nil
}

// unpack returns the newest entry of a video that has not expired, or the zero
// value.
func unpack(user int64, video, packed string, now int64) (write, error) {
	for entry := range strings.SplitSeq(packed, ";") {
		if entry == "" {
			continue
		}
		var numbers [5]int64 // version, liked, author, provisional, expires
		rest := entry
		for i := range numbers {
			var number string
			number, rest, _ = strings.Cut(rest, ",")
			var err error
			if numbers[i], err = strconv.ParseInt(number, 10, 64); err != nil {
				return write{}, fmt.Errorf("entry %q: %w", entry, err)
			}
		}
		if numbers[4] <= now {
			continue
		}
		id, err := strconv.ParseInt(video, 10, 64)
		return write{user: user, video: id, version: numbers[0], liked: numbers[1] == 1, author: numbers[2]}, err
	}
	return write{}, nil
}

// leave waits less than the others: mostly it is called because Redis has just let
// somebody wait, and what was liked stands whether it succeeds or not.
func (r *RedisPending) leave(ctx context.Context, version int64, users ...int64) error {
	ctx, cancel := context.WithTimeout(ctx, r.budget/4)
	defer cancel()
	calls := make([]call, len(users))
	for i, user := range users {
		calls[i] = call{user, []any{version, r.lives.settled.Milliseconds()}}
	}
	_, err := r.runAll(ctx, leaveScript, calls)
	return errs.Wrap(errs.Unavailable, err, "leaving marks for %d users", len(users))
}

// call is what a script is told about a user's hash.
type call struct {
	user int64
	args []any
}

// runAll runs a script for each call, in their order and one round trip, within the
// budget. When one fails all have: those that ran expire.
func (r *RedisPending) runAll(ctx context.Context, script *redis.Script, calls []call) ([]any, error) {
	ctx, cancel := context.WithTimeout(ctx, r.budget)
	defer cancel()
	send := func(run func(pipe redis.Pipeliner, key string, args []any) *redis.Cmd) ([]any, error) {
		commands, err := r.client.Pipelined(ctx, func(pipe redis.Pipeliner) error {
			for _, c := range calls {
				run(pipe, pendingKey(c.user), c.args)
			}
			return nil
		})
		replies := make([]any, len(commands))
		for i, command := range commands {
			replies[i] = command.(*redis.Cmd).Val()
		}
		return replies, err
	}
	replies, err := send(func(pipe redis.Pipeliner, key string, args []any) *redis.Cmd {
		return script.EvalSha(ctx, pipe, []string{key}, args...)
	})
	if redis.HasErrorPrefix(err, "NOSCRIPT") { // then none has run
		return send(func(pipe redis.Pipeliner, key string, args []any) *redis.Cmd {
			return script.Eval(ctx, pipe, []string{key}, args...)
		})
	}
	return replies, err
}

func pendingKey(user int64) string { return "favorite:pending:" + strconv.FormatInt(user, 10) }

func flag(liked bool) int {
	if liked {
		return 1
	}
	return 0
}

// parse reads numbers, which scripts return as integers or as text.
func parse(reply any) ([]int64, error) {
	items, _ := reply.([]any)
	numbers := make([]int64, len(items))
	for i, item := range items {
		switch value := item.(type) {
		case int64:
			numbers[i] = value
		case string:
			var err error
			if numbers[i], err = strconv.ParseInt(value, 10, 64); err != nil {
				return nil, err
			}
		default:
			return nil, fmt.Errorf("%T is no number", item)
		}
	}
	return numbers, nil
}
