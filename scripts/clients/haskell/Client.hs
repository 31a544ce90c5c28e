{-# LANGUAGE OverloadedStrings #-}

-- | Recognises a WAV file, or live audio from a pipe, on a pykaldi-server.
--
-- > mkdir -p build
-- > ghc -O -outputdir build -o build/client Client.hs
-- > build/client speech.wav
-- > arecord -q -f S16_LE -r 16000 -t raw -d 10 | build/client --rate 16000 -
--
-- Final results go to standard output, a line each; partial results and all else go to standard error.
module Main (main) where

import Control.Concurrent (threadDelay)
import Control.Exception (IOException, try)
import Control.Monad (unless, when)
import Data.Aeson (eitherDecodeFileStrict, encodeFile)
import Data.Bits (shiftL, (.|.))
import Data.ByteString (ByteString)
import qualified Data.ByteString as B
import Data.Maybe (fromMaybe)
import qualified Data.Text as T
import qualified Data.Text.IO as T
import GHC.Clock (getMonotonicTime)
import System.Console.GetOpt
import System.Directory (doesFileExist)
import System.Environment (getArgs, lookupEnv)
import System.Exit
import System.IO
import Text.Printf (hPrintf)
import Text.Read (readMaybe)

import Speech

-- | Exit statuses as sysexits.h has them. Errors of the server are passed on as their status: 1, 2, 3, 5 or 9.
exitUsage, exitNoInput, exitNoConnection, exitNoOutput :: Int
exitUsage = 64
exitNoInput = 66
exitNoConnection = 69
exitNoOutput = 73

data Flags = Flags
  { address :: String
  , rate :: Maybe String
  , isPaced :: Bool
  , request :: [(String, String)]
  , stateFile :: Maybe FilePath
  , shownToken :: Maybe String
  , patience :: String
  }

flags :: [OptDescr (Flags -> Flags)]
flags =
  [ Option [] ["url"] (ReqArg (\x f -> f {address = x}) "URL") "address of the server"
  , Option [] ["rate"] (ReqArg (\x f -> f {rate = Just x}) "HZ") "FILE is raw: mono S16LE at this rate"
  , Option [] ["paced"] (NoArg (\f -> f {isPaced = True})) "send a file no faster than it is spoken"
  , Option [] ["model"] (ReqArg (\x f -> f {request = ("model", x) : request f}) "NAME") "name of the model"
  , Option [] ["user-id"] (ReqArg (\x f -> f {request = ("user-id", x) : request f}) "ID") "who speaks"
  , Option [] ["state"] (ReqArg (\x f -> f {stateFile = Just x}) "FILE") "adaptation state: sent if there, then saved"
  , Option [] ["token"] (ReqArg (\x f -> f {shownToken = Just x}) "TOKEN") "shown to the server"
  , Option [] ["patience"] (ReqArg (\x f -> f {patience = x}) "S") "how long to try to reconnect"
  ]

main :: IO ()
main = do
  mapM_ (`hSetEncoding` utf8) [stdout, stderr]
  hSetBuffering stdout LineBuffering
  hSetBuffering stderr LineBuffering
  (changes, files, problems) <- getOpt Permute flags <$> getArgs
  let unset = Flags "ws://localhost:8888/client/ws/speech" Nothing False [] Nothing Nothing "60"
      chosen = foldl (flip id) unset changes
      rateGiven = traverse readMaybe (rate chosen) :: Maybe (Maybe Int)
  case (files, problems, rateGiven, readMaybe (patience chosen)) of
    ([file], [], Just hz, Just seconds) -> run chosen file hz seconds
    _ -> do
      hPutStr stderr (concat problems ++ usageInfo "usage: client [OPTIONS] FILE" flags)
      exitWith (ExitFailure exitUsage)

run :: Flags -> FilePath -> Maybe Int -> Double -> IO ()
run chosen file hz seconds = do
  (audio, source) <- orExit exitNoInput file (open file hz (isPaced chosen))
  state <- maybe (return Nothing) readState (stateFile chosen)
  variable <- lookupEnv "PYKALDI_SERVER_TOKEN"
  let shown = T.pack (fromMaybe (fromMaybe "" variable) (shownToken chosen))
      options =
        (defaults (address chosen) audio)
          {fields = request chosen, token = shown, adaptationState = state, patienceS = seconds}
  outcome <- recognise options source (tell (stateFile chosen))
  case outcome of
    Complete -> return ()
    Failed (Refused status message) upToS -> do
      hPrintf stderr "status %d: %s; recognised up to %.2f s\n" status (T.unpack message) upToS
      exitWith (ExitFailure status)
    Failed (Unreachable reason) upToS -> do
      hPrintf stderr "%s; recognised up to %.2f s\n" (T.unpack reason) upToS
      exitWith (ExitFailure exitNoConnection)
 where
  readState path = do
    isThere <- doesFileExist path
    let decoded = eitherDecodeFileStrict path >>= either (ioError . userError) return
    if isThere then Just <$> orExit exitNoInput path decoded else return Nothing

-- | Ends the program with this status if something is wrong with a file.
orExit :: Int -> FilePath -> IO a -> IO a
orExit status file action =
  try action >>= either complain return
 where
  complain problem = do
    hPutStrLn stderr (file ++ ": " ++ show (problem :: IOException))
    exitWith (ExitFailure status)

-- | Prints what is worth it, and saves what was learned of the speaker.
tell :: Maybe FilePath -> Event -> IO ()
tell state event = case event of
  Partial text -> T.hPutStrLn stderr ("... " <> text)
  Final text _ _ -> T.putStrLn text
  Waiting place -> when (place > 0) (hPrintf stderr "waiting: place %d in line\n" place)
  Interrupted reason resendS ->
    hPrintf stderr "interrupted: %s; %.2f s of audio will be sent again\n" (T.unpack reason) resendS
  Resumed -> hPutStrLn stderr "resumed"
  AdaptationState value -> mapM_ (\path -> orExit exitNoOutput path (encodeFile path value)) state
  Position _ -> return ()
  Other -> return ()

-- | The format of the audio, and the audio.
open :: FilePath -> Maybe Int -> Bool -> IO (Format, Source)
open "-" hz _ = return (Format (fromMaybe 16000 hz) 1, live)
open file hz paced = do
  bytes <- B.readFile file
  (audio, samples) <- case hz of
    Just raw -> return (Format raw 1, bytes)
    Nothing -> either (ioError . userError) return (parseWav bytes)
  return (audio, recorded audio paced samples)

-- | What another program writes to standard input, as it comes.
live :: Source
live send = do
  piece <- B.hGetSome stdin 65536
  unless (B.null piece) (send piece >> live send)

-- | A recording in pieces; each, if paced, when it would have been spoken.
recorded :: Format -> Bool -> ByteString -> Source
recorded audio paced samples send = getMonotonicTime >>= from 0
 where
  size = bytesOf audio 0.1
  from place beganAt = do
    let piece = B.take size (B.drop place samples)
        next = place + B.length piece
    unless (B.null piece) $ do
      now <- getMonotonicTime
      when paced (threadDelay (round (1e6 * (beganAt + secondsOf audio next - now))))
      send piece
      from next beganAt

-- | Finds the format and the samples in a WAV file.
parseWav :: ByteString -> Either String (Format, ByteString)
parseWav bytes
  | B.take 4 bytes /= "RIFF" || B.take 4 (B.drop 8 bytes) /= "WAVE" = Left "expected a WAV file"
  | otherwise = case (lookup "fmt " chunks, lookup "data" chunks) of
      (Just format', Just samples)
        | B.length format' < 16 -> Left "expected a chunk fmt of 16 bytes"
        | number 2 0 format' `elem` [1, 0xfffe] && number 2 14 format' == 16 -- PCM, plain and extensible
          ->
            Right (Format (number 4 4 format') (number 2 2 format'), samples)
        | otherwise -> Left ("expected samples of 16 bits, found " ++ show (number 2 14 format'))
      _ -> Left "expected a WAV file with chunks fmt and data"
 where
  chunks = from (B.drop 12 bytes)
  from rest
    | B.length rest < 8 = []
    | otherwise =
        let size = number 4 4 rest
            body = B.drop 8 rest
         in (B.take 4 rest, B.take size body) : from (B.drop (size + size `mod` 2) body)

-- | An unsigned number of some bytes, little-endian, at a place.
number :: Int -> Int -> ByteString -> Int
number size place = B.foldr (\byte rest -> rest `shiftL` 8 .|. fromIntegral byte) 0 . B.take size . B.drop place
