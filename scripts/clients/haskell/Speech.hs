{-# LANGUAGE LambdaCase #-}
{-# LANGUAGE OverloadedStrings #-}

-- | Live speech recognition by a pykaldi-server, over a connection that may break: copy this into your program.
--
-- > outcome <- recognise (defaults "ws://localhost:8888/client/ws/speech" (Format 16000 1)) microphone print
--
-- Audio is kept in memory until it has been recognised. When the connection is lost within an utterance, what was
-- already final stays, and all audio after it is sent again over the next connection.
--
-- The messages are described in docs/protocol.md of pykaldi-server.
module Speech
  ( Event (..)
  , Failure (..)
  , Format (..)
  , Options (..)
  , Outcome (..)
  , Source
  , bytesOf
  , defaults
  , recognise
  , secondsOf
  ) where

import Control.Applicative ((<|>))
import Control.Concurrent (threadDelay)
import Control.Concurrent.Async (race_, wait, withAsync)
import Control.Concurrent.STM
import Control.Exception (Exception, IOException, catch, finally, handle, throwIO, try)
import Control.Monad (forever, unless, when)
import Data.Aeson (Value, eitherDecode, encode, object, withObject, (.!=), (.:), (.:?), (.=))
import Data.Aeson.Types (Parser, parseEither)
import Data.ByteString (ByteString)
import qualified Data.ByteString as B
import Data.Char (isAlphaNum, isAscii)
import Data.IORef
import Data.Map.Strict (Map)
import qualified Data.Map.Strict as Map
import Data.Text (Text)
import qualified Data.Text as T
import qualified Data.Text.Encoding as T
import GHC.Clock (getMonotonicTime)
import qualified Network.WebSockets as WS
import Numeric (showHex)

-- | Raw audio of signed 16-bit samples, little-endian, channels interleaved.
data Format = Format {rateHz :: Int, channels :: Int}

-- | How many bytes last so long; whole samples of every channel.
bytesOf :: Format -> Double -> Int
bytesOf audio seconds = round (seconds * fromIntegral (rateHz audio)) * 2 * channels audio

secondsOf :: Format -> Int -> Double
secondsOf audio bytes = fromIntegral bytes / fromIntegral (2 * channels audio * rateHz audio)

-- | Hands over all audio, in pieces, at the pace at which it shall be sent.
type Source = (ByteString -> IO ()) -> IO ()

data Options = Options
  { url :: String
  -- ^ address of the server, such as @ws:\/\/localhost:8888\/client\/ws\/speech@
  , audioFormat :: Format
  , fields :: [(String, String)]
  -- ^ more fields of the address, such as @model@, @user-id@ and options of the request
  , token :: Text
  -- ^ shown to the server; empty for none
  , adaptationState :: Maybe Value
  -- ^ of the same speaker, as it came in the 'AdaptationState' of an earlier request
  , patienceS :: Double
  -- ^ how long to try to connect again before giving up
  }

defaults :: String -> Format -> Options
defaults server audio = Options server audio [] "" Nothing 60

-- | What happens while audio is being recognised. Times count from the start of the audio, in seconds.
data Event
  = -- | what has been understood of the sentence that is being spoken; replaces the partial result before
    Partial Text
  | -- | what was said, and where the sentence begins and ends
    Final Text Double Double
  | -- | the request waits in line, at this place
    Waiting Int
  | -- | how far recognition has come
    Position Double
  | -- | what has been learned of the speaker
    AdaptationState Value
  | -- | the connection is lost, for this reason; so much audio will be sent again
    Interrupted Text Double
  | -- | the server answers again
    Resumed
  | -- | a message that this module does not know
    Other
  deriving (Show)

data Failure
  = -- | the server has sent an error: its number, see "Errors" in docs/protocol.md, and its message
    Refused Int Text
  | -- | the server could not be reached, at the start or for 'patienceS'; the text says why
    Unreachable Text
  deriving (Show)

instance Exception Failure

-- | How it has ended, with the time up to which the audio has been recognised if that is not its end.
data Outcome = Complete | Failed Failure Double
  deriving (Show)

-- | Audio that has been recorded and not yet been recognised. Places in it are counted in bytes from its start.
data Backlog = Backlog
  { start, end :: !Int
  , pieces :: !(Map Int ByteString) -- by the places at which they begin
  , isComplete :: !Bool
  }

add :: ByteString -> Backlog -> Backlog
add piece kept = kept {end = end kept + B.length piece, pieces = Map.insert (end kept) piece (pieces kept)}

-- | The audio from a place on, or a piece of it; waits until there is some. Empty at the end.
audioFrom :: TVar Backlog -> Int -> STM ByteString
audioFrom backlog place = do
  kept <- readTVar backlog
  case Map.lookupLE place (pieces kept) of
    Just (begin, piece) | place < end kept -> return (B.drop (place - begin) piece)
    _ -> check (isComplete kept) >> return B.empty

-- | Drops the audio before a place: it has been recognised.
forget :: Int -> Backlog -> Backlog
forget place kept
  | place <= start kept = kept
  | otherwise = kept {start = place, pieces = snd (Map.split (first - 1) (pieces kept))}
 where
  first = maybe place fst (Map.lookupLE place (pieces kept))

-- | Sends audio as it comes, and tells of everything that happens, until all has been recognised. An exception of the
-- source ends the audio there; it is thrown when what came before has been recognised.
recognise :: Options -> Source -> (Event -> IO ()) -> IO Outcome
recognise options source tell = do
  backlog <- newTVarIO (Backlog 0 0 Map.empty False)
  outage <- newIORef Nothing -- while the server is away: until when to try, and how long to wait before
  let fill = source (atomically . modifyTVar' backlog . add)
      complete = atomically (modifyTVar' backlog (\kept -> kept {isComplete = True}))
      fail' failure = Failed failure . secondsOf (audioFormat options) . start <$> readTVarIO backlog
      heard event = do
        wasAway <- atomicModifyIORef' outage (\away -> (Nothing, away))
        when (wasAway /= Nothing) (tell Resumed)
        tell event
      attempt isFirst =
        try (overConnection options backlog heard) >>= \case
          Right () -> return Complete
          Left (NotConnected reason)
            | isFirst -> fail' (Unreachable ("cannot connect: " <> reason))
            | otherwise -> again ("cannot connect: " <> reason)
          Left (ConnectionLost reason) -> again ("connection lost: " <> reason)
          Left (ErrorSent status message) -> do
            isAway <- (/= Nothing) <$> readIORef outage
            if isAway && status == noRecogniser -- workers come after their server
              then again message
              else fail' (Refused status message)
      again reason = do
        now <- getMonotonicTime
        (giveUpAt, waitS) <- readIORef outage >>= maybe (interrupt reason now) return
        if now + waitS > giveUpAt
          then fail' (Unreachable (reason <> "; given up after " <> T.pack (show (patienceS options)) <> " s"))
          else do
            threadDelay (round (1e6 * waitS))
            writeIORef outage (Just (giveUpAt, min longestWaitS (2 * waitS)))
            attempt False
      interrupt reason now = do
        kept <- readTVarIO backlog
        tell (Interrupted reason (secondsOf (audioFormat options) (end kept - start kept)))
        return (now + patienceS options, firstWaitS)
  withAsync (fill `finally` complete) $ \filling -> do
    outcome <- attempt True
    case outcome of
      Complete -> wait filling
      Failed _ _ -> return ()
    return outcome

-- | Why one connection has not led to the end.
data Break = NotConnected Text | ConnectionLost Text | ErrorSent Int Text
  deriving (Show)

instance Exception Break

-- | Sends the backlog over one connection and tells what comes, until all has been recognised.
overConnection :: Options -> TVar Backlog -> (Event -> IO ()) -> IO ()
overConnection options backlog tell = do
  heardAt <- newIORef =<< getMonotonicTime
  isOpen <- newIORef False
  let heard = getMonotonicTime >>= writeIORef heardAt
      settings = WS.defaultConnectionOptions {WS.connectionOnPong = heard}
      headers = [("Authorization", "Bearer " <> T.encodeUtf8 (token options)) | not (T.null (token options))]
      watch = do
        silentS <- (-) <$> getMonotonicTime <*> readIORef heardAt
        opened <- readIORef isOpen
        when (silentS > longestSilenceS) $
          throwIO ((if opened then ConnectionLost else NotConnected) "the server gives no sign of life")
        threadDelay 1000000
  (host, port, path) <- either (throwIO . NotConnected) return (address options)
  handle (throwIO . NotConnected . T.pack . show') . handle (throwIO . NotConnected . refusal) $
    race_ (forever watch) . WS.runClientWith host port path settings headers $ \connection -> do
      heard
      writeIORef isOpen True
      WS.withPingThread connection 4 (return ()) (exchange options backlog connection tell)
 where
  show' error' = show (error' :: IOException)
  refusal = \case
    WS.MalformedResponse response _ -> "the server answers with HTTP status " <> T.pack (show (WS.responseCode response))
    other -> T.pack (show other)

exchange :: Options -> TVar Backlog -> WS.Connection -> (Event -> IO ()) -> IO ()
exchange options backlog connection tell = do
  first <- start <$> readTVarIO backlog
  isSent <- newIORef False
  isSpeaking <- newIORef False -- a partial result has come since the last final one
  let forgetUntil seconds = atomically (modifyTVar' backlog (forget (first + bytesOf (audioFormat options) seconds)))
      offsetS = secondsOf (audioFormat options) first
      note = \case
        Partial text -> writeIORef isSpeaking True >> tell (Partial text)
        Final text from to -> do
          writeIORef isSpeaking False
          forgetUntil to
          tell (Final text (offsetS + from) (offsetS + to))
        Position seconds -> do
          speaking <- readIORef isSpeaking
          unless speaking (forgetUntil (seconds - wordDelayS)) -- silence, so far
          tell (Position (offsetS + seconds))
        event -> tell event
      receive = do
        message <- WS.receiveData connection
        case eitherDecode message >>= parseEither reply of
          Left problem -> throwIO (ConnectionLost ("expected a JSON object with status: " <> T.pack problem))
          Right (Left (status, text)) -> throwIO (ErrorSent status text)
          Right (Right event) -> note event
      ended = \case
        WS.CloseRequest 1000 _ -> readIORef isSent >>= \sent -> unless sent (throwIO (ConnectionLost "closed early"))
        reason -> throwIO (ConnectionLost (T.pack (show reason)))
      lost problem = throwIO (ConnectionLost (T.pack (show (problem :: IOException))))
  withAsync (send options backlog connection first (writeIORef isSent True)) $ \_ ->
    forever receive `catch` ended `catch` lost

-- | Sends the audio from a place on; `sent` is called when nothing but the mark of the end is left.
send :: Options -> TVar Backlog -> WS.Connection -> Int -> IO () -> IO ()
send options backlog connection first sent = do
  mapM_ (WS.sendTextData connection . encode . state) (adaptationState options)
  let loop place = do
        piece <- atomically (audioFrom backlog place)
        if B.null piece
          then sent >> WS.sendTextData connection ("EOS" :: Text)
          else WS.sendBinaryData connection piece >> loop (place + B.length piece)
  loop first
 where
  state value = object ["adaptation_state" .= value]

-- | A message of the server: an error, or an event.
reply :: Value -> Parser (Either (Int, Text) Event)
reply = withObject "message" $ \message -> do
  status <- message .: "status"
  let result = do
        found <- message .: "result"
        hypothesis : _ <- found .: "hypotheses"
        transcript <- hypothesis .: "transcript"
        isFinal <- found .: "final"
        if isFinal
          then Final transcript <$> message .: "segment-start" <*> message .: "total-length"
          else return (Partial transcript)
      event =
        result
          <|> (Waiting <$> message .: "queue")
          <|> (message .: "position" >>= fmap Position . (.: "seconds"))
          <|> (AdaptationState <$> message .: "adaptation_state")
          <|> return Other
  if status == (0 :: Int)
    then Right <$> event
    else Left . (,) status <$> (message .:? "message" .!= "")

-- | Host, port and path of the server's address.
address :: Options -> Either Text (String, Int, String)
address options = case splitAt 5 (url options) of
  ("ws://", rest) ->
    let (authority, path) = break (== '/') rest
        (host, port) = break (== ':') authority
     in case reads (drop 1 port ++ if null port then "80" else "") of
          [(number, "")] -> Right (host, number, path ++ separator path : query)
          _ -> Left ("expected ws://HOST:PORT/PATH, found " <> T.pack (url options))
  _ -> Left ("expected ws://HOST:PORT/PATH, found " <> T.pack (url options))
 where
  separator path = if '?' `elem` path then '&' else '?'
  query = drop 1 (concat ['&' : name ++ "=" ++ concatMap escape value | (name, value) <- asked ++ fields options])
  asked = [("content-type", contentType (audioFormat options)), ("queue", "true"), ("positions", "true")]
  contentType audio =
    "audio/x-raw,format=S16LE,rate=" ++ show (rateHz audio) ++ ",channels=" ++ show (channels audio)
  escape c
    | isAscii c && isAlphaNum c = [c]
    | otherwise = concatMap percent (B.unpack (T.encodeUtf8 (T.singleton c)))
  percent byte = '%' : [digit | byte < 16, digit <- "0"] ++ showHex byte ""

firstWaitS, longestWaitS, wordDelayS, longestSilenceS :: Double
firstWaitS = 0.5 -- between two attempts to connect again
longestWaitS = 8
wordDelayS = 2 -- a word that was spoken earlier than this before the position is in a partial result
longestSilenceS = 20 -- a server that does not answer pings for so long is gone

-- | The status of a request for which there is no recogniser.
noRecogniser :: Int
noRecogniser = 9
